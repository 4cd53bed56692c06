// See mpi-library.h.
//
// Does not: close the library again; Open MPI cannot be started twice in a process.
#include "mpi-library.h"

#include <dlfcn.h>
#include <stdlib.h>

namespace belay::comm {
namespace {

template <class T>
bool find(void *library, const char *name, T *out, std::string *why) {
  *out = reinterpret_cast<T>(dlsym(library, name));
  if (*out != nullptr) return true;
  *why = std::string("the library has no ") + name + "; it is not Open MPI";
  return false;
}

}  // namespace

bool MpiLibrary::open(std::string *why) {
  const char *given = getenv("BELAY_MPI_LIBRARY");
  // Global, because the library's plug-ins look for its symbols among everyone's.
  void *library = dlopen(given != nullptr ? given : "libmpi.so.40", RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    *why = dlerror();
    return false;
  }
  // The handles of Open MPI are addresses of its objects.
  return find(library, "MPI_Init_thread", &initThread, why) && find(library, "MPI_Comm_rank", &commRank, why) &&
         find(library, "MPI_Comm_size", &commSize, why) &&
         find(library, "MPI_Comm_set_errhandler", &setErrorHandler, why) &&
         find(library, "MPI_Isend", &isend, why) && find(library, "MPI_Irecv", &irecv, why) &&
         find(library, "MPI_Test", &test, why) && find(library, "MPI_Cancel", &cancel, why) &&
         find(library, "MPI_Request_free", &requestFree, why) &&
         find(library, "MPI_Allreduce", &allreduce, why) && find(library, "MPI_Error_string", &errorString, why) &&
         find(library, "MPI_Finalize", &finalize, why) && find(library, "ompi_mpi_comm_world", &world, why) &&
         find(library, "ompi_mpi_byte", &byte, why) && find(library, "ompi_mpi_float", &float32, why) &&
         find(library, "ompi_mpi_op_sum", &sum, why) &&
         find(library, "ompi_mpi_errors_return", &errorsReturn, why);
}

std::string MpiLibrary::error(int code) const {
  char text[512] = "";
  int length = 0;
  return errorString(code, text, &length) == 0 ? text : "error " + std::to_string(code);
}

}  // namespace belay::comm
