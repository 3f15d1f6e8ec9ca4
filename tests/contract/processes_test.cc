// Child processes and signals, and two reactors in one process: the real world only.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "real_io/main_world.h"
#include "tests/contract/worlds.h"

namespace varve::contract {
namespace {

using real_io::RealOptions;
using real_io::RealWorld;

RealOptions options_in(const TemporaryDirectory& directory) {
  RealOptions options;
  options.root = directory.path();
  return options;
}

void in_real(const std::function<void(RealWorld&)>& body) {
  const TemporaryDirectory directory;
  auto world = RealWorld::create(options_in(directory));
  ASSERT_SUCCESS(world);
  EXPECT_SUCCESS((*world)->run([&](RealWorld& real) {
    body(real);
    return Status();
  }));
}

ProcessCommand shell(const std::string& script) {
  return {.name = "shell",
          .arguments = {"/bin/sh", "-c", script},
          .environment = {},
          .output_path = "out"};
}

bool alive(pid_t pid) {
  return ::kill(pid, 0) == 0;
}

TEST(Processes, ExitCodesOutputAndEnvironment) {
  in_real([](RealWorld& real) {
    ProcessCommand command =
        shell("echo $COLOUR; echo to stderr >&2; cat; ps -o pid=,sid= $$; env | wc -l; exit 3");
    command.environment["COLOUR"] = "deep blue";
    auto process = real.processes().spawn(command);
    ASSERT_SUCCESS(process);
    EXPECT_EQ(*(*process)->wait(), 3);
    EXPECT_EQ(*(*process)->wait(), 3) << "it may be asked again";
    EXPECT_EQ((*process)->signal(ProcessSignal::kKill).code(), Code::kNotFound);
    const std::string output(read_file(real.world().disk, "out")->view());
    EXPECT_TRUE(output.starts_with("deep blue\nto stderr\n")) << output;
    int64_t pid = 0;
    int64_t session = 0;
    int variables = 0;
    ASSERT_EQ(std::sscanf(output.c_str() + 20, "%ld %ld %d", &pid, &session, &variables), 3)
        << output;
    EXPECT_EQ(pid, (*process)->pid());
    EXPECT_EQ(session, pid) << "a session of its own";
    EXPECT_LT(variables, 12) << "a minimal environment";
    // Appended, not replaced.
    auto second = real.processes().spawn(shell("echo more"));
    ASSERT_SUCCESS(second);
    EXPECT_EQ(*(*second)->wait(), 0);
    EXPECT_EQ(read_file(real.world().disk, "out")->view(), output + "more\n");
  });
}

TEST(Processes, SignalsAndTheirCodes) {
  in_real([](RealWorld& real) {
    for (const auto& [signal, code] :
         {std::pair{ProcessSignal::kStop, 143}, {ProcessSignal::kKill, 137}}) {
      auto process = real.processes().spawn(shell("exec sleep 100"));
      ASSERT_SUCCESS(process);
      ASSERT_SUCCESS((*process)->signal(ProcessSignal::kPause));
      ASSERT_SUCCESS((*process)->signal(ProcessSignal::kContinue));
      ASSERT_SUCCESS((*process)->signal(signal));
      EXPECT_EQ(*(*process)->wait(), code);
    }
    const auto missing = real.processes().spawn(
        {.name = "x", .arguments = {"/no/such"}, .environment = {}, .output_path = ""});
    EXPECT_EQ(missing.code(), Code::kNotFound);
    EXPECT_NE(missing.status().to_string().find("/no/such"), std::string::npos);
  });
}

TEST(Processes, NoChildOutlivesItsOwner) {
  in_real([](RealWorld& real) {
    auto process = real.processes().spawn(shell("exec sleep 100"));
    ASSERT_SUCCESS(process);
    const auto pid = static_cast<pid_t>((*process)->pid());
    EXPECT_TRUE(alive(pid));
    process->reset();
    EXPECT_FALSE(alive(pid));
  });
}

TEST(Processes, WaitingCanBeCancelled) {
  in_real([](RealWorld& real) {
    auto process = real.processes().spawn(shell("exec sleep 100"));
    ASSERT_SUCCESS(process);
    const DeadlineGuard deadline(Duration::millis(20));
    EXPECT_EQ((*process)->wait().code(), Code::kDeadlineExceeded);
  });
}

// A process that runs `body` under run_real; returns its number.
pid_t fork_daemon(const std::string& root, int report,
                  const std::function<Status(RealWorld&, int)>& body) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  RealOptions options;
  options.root = root;
  options.log.path = root + "/log";
  ::_exit(real_io::run_real(options, std::function<Status(RealWorld&)>(
                                         [&](RealWorld& real) { return body(real, report); })));
}

TEST(Processes, TheKernelKillsChildrenOfAKilledParent) {
  const TemporaryDirectory directory;
  int report[2];
  ASSERT_EQ(::pipe(report), 0);
  const pid_t daemon =
      fork_daemon(directory.path(), report[1], [](RealWorld& real, int out) -> Status {
        VARVE_TRY_ASSIGN(auto process, real.processes().spawn(shell("exec sleep 100")));
        const int64_t pid = process->pid();
        (void)!::write(out, &pid, sizeof pid);
        return process->wait().status();
      });
  int64_t child = 0;
  ASSERT_EQ(::read(report[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
  ASSERT_EQ(::kill(daemon, SIGKILL), 0);
  ASSERT_EQ(::waitpid(daemon, nullptr, 0), daemon);
  // Its new parent may never collect it; a zombie runs no more.
  char state = 'R';
  for (int i = 0; i < 500 && state != 'Z' && alive(static_cast<pid_t>(child)); ++i) {
    ::usleep(10000);
    if (FILE* stat = std::fopen(("/proc/" + std::to_string(child) + "/stat").c_str(), "r")) {
      (void)!std::fscanf(stat, "%*d %*s %c", &state);
      std::fclose(stat);
    }
  }
  EXPECT_TRUE(state == 'Z' || !alive(static_cast<pid_t>(child))) << state;
  ::close(report[0]);
  ::close(report[1]);
}

TEST(Processes, AStopSignalCancelsOnceAndIsSuccess) {
  const TemporaryDirectory directory;
  int report[2];
  ASSERT_EQ(::pipe(report), 0);
  const pid_t daemon = fork_daemon(directory.path(), report[1], [](RealWorld&, int out) -> Status {
    (void)!::write(out, "x", 1);
    const Status status = sleep_for(Duration::seconds(100));
    const Shield shield;  // clean-up goes on although a second signal comes
    VARVE_TRY(sleep_for(Duration::millis(200)));
    return status;
  });
  char ready;
  ASSERT_EQ(::read(report[0], &ready, 1), 1);
  ASSERT_EQ(::kill(daemon, SIGINT), 0);
  ::usleep(50000);
  ASSERT_EQ(::kill(daemon, SIGTERM), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ::close(report[0]);
  ::close(report[1]);
}

TEST(Processes, TwoReactorsShareNothing) {
  const TemporaryDirectory directories[2];
  Address address;
  std::unique_ptr<RealWorld> worlds[2];
  for (int i = 0; i < 2; ++i) {
    auto world = RealWorld::create(options_in(directories[i]));
    ASSERT_SUCCESS(world);
    worlds[i] = std::move(*world);
  }
  std::unique_ptr<Listener> listener;
  EXPECT_SUCCESS(worlds[0]->run([&](RealWorld& real) -> Status {
    VARVE_TRY_ASSIGN(listener, real.world().network.listen({"", 0}));
    address = listener->address();
    return Status();
  }));
  constexpr int kRounds = 300;
  const auto talk = [](World& world, Stream& stream, bool first) -> Status {
    VARVE_TRY_ASSIGN(auto file, world.disk.open("f", OpenMode::kCreate));
    BufferedReader reader(stream);
    for (int i = 0; i < kRounds; ++i) {
      if (first) VARVE_TRY(stream.write(pattern(1000, static_cast<uint64_t>(i))));
      VARVE_TRY_ASSIGN(const Bytes got, reader.read_exactly(1000));
      EXPECT_EQ(got.view(), pattern(1000, static_cast<uint64_t>(i)).view());
      VARVE_TRY(file->write(static_cast<uint64_t>(i) * 1000, {got}));
      if (!first) VARVE_TRY(stream.write(got));
    }
    EXPECT_EQ(*file->size(), 1000u * kRounds);
    return stream.close_write();
  };
  std::thread server([&] {
    EXPECT_SUCCESS(worlds[0]->run([&](RealWorld& real) -> Status {
      VARVE_TRY_ASSIGN(auto stream, listener->accept());
      return talk(real.world(), *stream, false);
    }));
  });
  EXPECT_SUCCESS(worlds[1]->run([&](RealWorld& real) -> Status {
    VARVE_TRY_ASSIGN(auto stream, real.world().network.connect(address));
    return talk(real.world(), *stream, true);
  }));
  server.join();
  listener.reset();
}

}  // namespace
}  // namespace varve::contract
