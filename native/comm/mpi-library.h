// Open MPI, opened when it is asked for: belay is built without it and runs without it.
//
// Only what mpi.cpp calls, by the binary interface of Open MPI (libmpi.so.40: its releases 2 to 5).
//
// Does not: know other MPI libraries; their interface differs.
#pragma once
#include <stddef.h>

#include <string>

namespace belay::comm {

struct MpiStatus {
  int source, tag, error, cancelled;
  size_t count;
};

struct MpiLibrary {
  using Comm = void *;
  using Type = void *;
  using Request = void *;

  int (*initThread)(int *, char ***, int, int *);
  int (*commRank)(Comm, int *);
  int (*commSize)(Comm, int *);
  int (*setErrorHandler)(Comm, void *);
  int (*isend)(const void *, int, Type, int, int, Comm, Request *);
  int (*irecv)(void *, int, Type, int, int, Comm, Request *);
  int (*test)(Request *, int *, MpiStatus *);
  int (*cancel)(Request *);
  int (*requestFree)(Request *);
  int (*allreduce)(const void *, void *, int, Type, void *, Comm);
  int (*errorString)(int, char *, int *);
  int (*finalize)();

  Comm world;
  Type byte, float32;
  void *sum, *errorsReturn;

  // False and why where it is not installed or is not Open MPI.
  bool open(std::string *why);
  std::string error(int code) const;
};

constexpr int mpiAnySource = -1;
constexpr int mpiThreadFunneled = 1;

}  // namespace belay::comm
