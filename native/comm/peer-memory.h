// Reading the memory of another process on this host, where the system allows it: one copy instead of TCP's two.
//
// Whether it is allowed (same user, same process namespace, no restriction by yama or a container) is found out by
// trying: each side says where a random number of its own lies, and the other one reads it.
//
// Does not: decide what to read; the sender offers an address, and keeps the memory unchanged until told.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <string>

namespace belay::comm {

// Lets processes of the same user read ours where yama would allow it to our ancestors only (its scope 1).
void allowReading();
// Copies; false and why where it does not work (any more).
bool readPeer(int process, uint64_t address, void *into, size_t length, std::string *why);

}  // namespace belay::comm
