// Child processes of the supervisor: fork and exec, each in a session of its own, waited for
// through a pidfd.
//
// "Killed by the kernel if this process dies" is PR_SET_PDEATHSIG, which is bound to the thread
// that forked: so fork() happens on the loop's thread, which lives as long as the process. A parent
// that dies before the child has asked for the signal is noticed by the child looking at its parent
// once after.
#pragma once

#include <memory>
#include <string>

#include "real_io/reactor.h"
#include "runtime/process.h"

namespace varve::real_io {

// Output files are opened below `root`. `reactor` must outlive the host and its processes.
std::unique_ptr<ProcessHost> make_process_host(Reactor& reactor, std::string root);

}  // namespace varve::real_io
