// `varve down`: asks the supervisor of a data directory to stop, and waits for it.
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "real_io/unique_fd.h"
#include "tools/varve/commands.h"
#include "tools/varve/files.h"
#include "tools/varve/layout.h"
#include "tools/varve/lock.h"

namespace varve::tool {
namespace {

struct DownFlags {
  std::string data = ".varve";
  int seconds = 60;
  bool immediately = false;
};

Status down(const DownFlags& flags) {
  VARVE_TRY_ASSIGN(const Layout layout, Layout::open(flags.data));
  VARVE_TRY_ASSIGN(const pid_t pid, DirectoryLock::holder(layout.directory()));
  if (pid == 0) {
    std::fprintf(stderr, "no Varve runs here\n");
    return Status();
  }
  const real_io::UniqueFd process(real_io::kernel(),
                                  static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  // Only who holds the lock now is meant, not who got its number after it had gone.
  VARVE_TRY_ASSIGN(const pid_t still, DirectoryLock::holder(layout.directory()));
  if (!process.valid() || still != pid) return Status();
  const auto send = [&](int signal) {
    return ::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) == 0;
  };
  // Two different ones: of two equal ones that nobody has taken yet, one is dropped.
  if (!send(SIGTERM) || (flags.immediately && !send(SIGINT))) {
    return os_error("cannot signal the supervisor", "pid " + std::to_string(pid));
  }
  pollfd gone{process.get(), POLLIN, 0};
  if (::poll(&gone, 1, flags.seconds * 1000) == 1) return Status();
  return Status(Code::kDeadlineExceeded, "the supervisor (pid " + std::to_string(pid) +
                                             ") still runs after " + std::to_string(flags.seconds) +
                                             " s")
      .with_hint("`varve down --immediately` kills what doesn't stop");
}

void add(CLI::App& app, Chosen& chosen) {
  static DownFlags flags;
  CLI::App* verb = app.add_subcommand("down", "Stops everything, in order; waits until it is.");
  verb->add_option("--data", flags.data, "the data directory")->capture_default_str();
  verb->add_option("--timeout", flags.seconds, "seconds to wait")
      ->capture_default_str()
      ->check(CLI::Range(1, 86400));
  verb->add_flag("--immediately", flags.immediately, "kill instead of stopping in order");
  verb->callback([&chosen] { chosen = [] { return result(down(flags)); }; });
}

const Verb kVerb(VerbGroup::kMachine, &add);

}  // namespace
}  // namespace varve::tool
