def offset():
    return 1.0
