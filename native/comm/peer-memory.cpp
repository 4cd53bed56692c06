// See peer-memory.h.
//
// Does not: exist outside Linux; there nothing can be read, and everything goes through TCP.
#include "peer-memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/uio.h>
#endif

namespace belay::comm {

void allowReading() {
#if defined(__linux__) && defined(PR_SET_PTRACER)
  FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
  if (file == nullptr) return;
  int scope = fgetc(file);
  fclose(file);
  if (scope == '1') prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
#endif
}

bool readPeer(int process, uint64_t address, void *into, size_t length, std::string *why) {
#ifdef __linux__
  char *at = static_cast<char *>(into);
  while (length > 0) {
    iovec local = {at, length}, remote = {reinterpret_cast<void *>(address), length};
    ssize_t got = process_vm_readv(process, &local, 1, &remote, 1, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      *why = got < 0 ? strerror(errno) : "nothing could be read";
      return false;
    }
    at += got;
    address += static_cast<uint64_t>(got);
    length -= static_cast<size_t>(got);
  }
  return true;
#else
  (void)process, (void)address, (void)into, (void)length;
  *why = "not on this system";
  return false;
#endif
}

}  // namespace belay::comm
