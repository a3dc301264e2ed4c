# The sandbox image where a registry answers: a slim Python, numpy, and nothing else.
# Built without network: the wheel is fetched and checked on the host and only copied, so no package's own code runs.
# compileall reads sources without running them; as the sandbox's root is read-only, every slot would otherwise
# compile the standard library again.
ARG BASE
FROM ${BASE}
ARG STDLIB
ARG SITE
ENV LANG=C.UTF-8 OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 PATH=/usr/local/bin:/usr/bin:/bin
COPY site/ ${SITE}/
RUN ["sh", "-c", "python3 -m compileall -q -j 0 -x bad_ $STDLIB $SITE"]
CMD ["python3"]
