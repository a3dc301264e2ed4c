#!/bin/sh
# EVOLVE-BLOCK-START
tr ' ' '\n' | grep -c .
# EVOLVE-BLOCK-END
