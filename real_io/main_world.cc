#include "real_io/main_world.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "real_io/signals.h"
#include "runtime/port/crash.h"

namespace varve::real_io {
namespace {

Status take_environment(RealOptions& options) {
  if (const char* disk = std::getenv("VARVE_DISK"); disk != nullptr && *disk != '\0') {
    if (std::string_view(disk) != "hold-until-sync") {
      return Status(Code::kInvalid, std::string("VARVE_DISK='") + disk + "' means nothing")
          .with_hint("hold-until-sync, or unset");
    }
    options.hold_until_sync = true;
  }
  if (const char* files = std::getenv("VARVE_FILES"); files != nullptr && *files != '\0') {
    VARVE_TRY_ASSIGN(options.files, parse_file_backend(files));
  }
  return Status();
}

int exit_code_of(const Status& status, bool stopped) {
  if (status.ok() || (stopped && status.is(Code::kCancelled))) return 0;
  std::fprintf(stderr, "varve: %s\n", status.to_string().c_str());
  return policy_of(status.code()).exit_code;
}

}  // namespace

int run_real(RealOptions options, std::function<Status(RealWorld&)> main, StopHandler on_stop) {
  block_stop_signals();
  (void)std::signal(SIGPIPE, SIG_IGN);
  const port::AlternateStack crash_stack;
  port::install_crash_print();
  const Status environment = take_environment(options);
  if (!environment.ok()) return exit_code_of(environment, false);
  auto world = RealWorld::create(options);
  if (!world.ok()) return exit_code_of(world.status(), false);
  RealWorld& real = **world;
  StopSignals signals(real.reactor(), [&](uint64_t count) { on_stop(real, count); });
  const Status status = real.run(std::move(main));
  return exit_code_of(status, signals.seen());
}

int run_real(RealOptions options, std::function<Status(RealWorld&)> main) {
  return run_real(std::move(options), std::move(main), [](RealWorld& real, uint64_t count) {
    if (count > 1) return;  // stopping has begun
    real.world().log.info("stopping", "a stop signal came");
    real.reactor().scheduler().root_scope().cancel();
  });
}

int run_real(RealOptions options, std::function<Status(World&)> main) {
  return run_real(std::move(options),
                  std::function<Status(RealWorld&)>(
                      [main = std::move(main)](RealWorld& real) { return main(real.world()); }));
}

}  // namespace varve::real_io
