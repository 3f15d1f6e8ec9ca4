// The supervisor in the simulated world, over processes that are nodes of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <set>

#include "supervisor/log_keeper.h"
#include "supervisor/testing/kept_machine.h"

namespace varve::supervisor {
namespace {

using testing::add_daemons;
using testing::compute_name;
using testing::daemon;
using testing::kPort;
using testing::kTenant;
using testing::kTimeline;
using testing::ModelLife;
using testing::ModelMachine;

constexpr Duration kLong = Duration::seconds(600);

template <class T>
T take(Result<T> result) {
  if (!result.ok()) ADD_FAILURE() << result.status().to_string();
  return std::move(result).value();
}

ComputeStart start_of(const std::string& endpoint, uint64_t start) {
  return {kTenant, kTimeline, endpoint, start, "a token"};
}

// One supervisor on node "host"; `body` is its main fiber.
class Rig {
 public:
  explicit Rig(uint64_t seed) : sim(seed, log_options()), kept(sim) {}

  static sim::SimulationOptions log_options() {
    sim::SimulationOptions options;
    options.print_log = std::getenv("VARVE_PRINT_LOG") != nullptr;
    return options;
  }

  void run(std::function<void(World&, Supervisor&)> body, Duration limit = kLong) {
    bool done = false;
    const NodeId host = sim.add_node("host", [&](World& world) {
      const std::unique_ptr<ProcessHost> processes = machine.open(world);
      Supervisor supervisor(kept.context(world, *processes),
                            {{"/model/varve", "compute"},
                             {{"VARVE_X", "1"}},
                             [this](const TenantId&, const std::string& endpoint) {
                               forgotten.push_back(endpoint);
                               return Status();
                             }});
      body(world, supervisor);
      supervisor.kill();
      EXPECT_TRUE(supervisor.stop().ok());
      done = true;
    });
    sim.start(host);
    ASSERT_TRUE(sim.run_until([&] { return done; }, limit))
        << sim.failure().value_or("") << sim.describe_waits();
    EXPECT_FALSE(sim.failure()) << *sim.failure();
  }

  size_t count(ProcessEvent::Kind kind, const std::string& name) const {
    return static_cast<size_t>(std::ranges::count(kept.events, std::pair(kind, name)));
  }

  // Pauses between the lives of one process.
  std::vector<Duration> pauses(const std::string& name) const {
    std::vector<Duration> found;
    const ModelLife* before = nullptr;
    for (const ModelLife& life : machine.lives()) {
      if (life.name != name) continue;
      if (before != nullptr) found.push_back(life.begun - before->ended);
      before = &life;
    }
    return found;
  }

  sim::Simulation sim;
  testing::KeptMachine kept;
  ModelMachine& machine = kept.machine;
  SupervisorOptions& options = kept.options;
  std::vector<std::string> forgotten;  // endpoints
};

TEST(Supervisor, StopsComputesThenPageserverThenSafekeepersThenControl) {
  Rig rig(1);
  for (const char* name :
       {"control", "safekeeper-1", "safekeeper-2", "safekeeper-3", "pageserver-1"}) {
    rig.machine.behaviour(name).stop_takes = Duration::millis(300);
  }
  rig.machine.behaviour(compute_name("a")).stop_takes = Duration::seconds(3);
  rig.run([&](World&, Supervisor& supervisor) {
    add_daemons(supervisor);
    ASSERT_TRUE(supervisor.wait_ready().ok());
    ASSERT_TRUE(supervisor.start_compute(start_of("a", 1)).ok());
    ASSERT_TRUE(supervisor.start_compute(start_of("b", 1)).ok());
    ASSERT_TRUE(sleep_for(Duration::millis(100)).ok());
    ASSERT_TRUE(supervisor.stop().ok());
    EXPECT_TRUE(supervisor.start_compute(start_of("a", 2)).is(Code::kUnavailable));
  });
  std::vector<std::string> order;
  std::map<std::string, Duration> ends;
  for (const ModelLife& life : rig.machine.lives()) ends[life.name] = life.ended;
  EXPECT_EQ(ends.size(), 7u);
  // Each waits for those that may need it, and those of one stage stop together.
  EXPECT_LT(ends[compute_name("a")], ends["pageserver-1"]);
  EXPECT_LT(ends[compute_name("b")] + Duration::seconds(2), ends[compute_name("a")]);
  for (const char* name : {"safekeeper-1", "safekeeper-2", "safekeeper-3"}) {
    EXPECT_GE(ends[name] - ends["pageserver-1"], Duration::millis(300));
    EXPECT_LT(ends[name] - ends["pageserver-1"], Duration::millis(600));
    EXPECT_GE(ends["control"] - ends[name], Duration::millis(299));
  }
}

TEST(Supervisor, ReadyIsTheLifeThatWasBegun) {
  Rig rig(2);
  rig.machine.behaviour("control").lies = 3;
  rig.machine.behaviour("safekeeper-1").listens_after = Duration::seconds(4);
  rig.run([&](World&, Supervisor& supervisor) {
    supervisor.add(daemon("control", 2), 0);
    supervisor.add(daemon("safekeeper-1", 11), 1);
    const Instant begun = now();
    ASSERT_TRUE(supervisor.wait_ready().ok());
    EXPECT_GE(now() - begun, Duration::seconds(4));
    EXPECT_EQ(rig.machine.behaviour("control").lies, 0u);
    EXPECT_EQ(supervisor.processes()[0]->state(), ProcessState::kRunning);
    EXPECT_EQ(supervisor.processes()[0]->incarnation().value,
              rig.machine.last("control")->incarnation);
  });
}

TEST(Supervisor, WhatEndsBeginsAgainAfterAPauseThatGrowsAndIsForgotten) {
  Rig rig(3);
  rig.machine.behaviour("control").fails = 12;
  rig.options.start_attempts = 100;
  rig.run([&](World&, Supervisor& supervisor) {
    supervisor.add(daemon("control", 2), 0);
    ASSERT_TRUE(supervisor.wait_ready().ok());
    EXPECT_EQ(supervisor.processes()[0]->restarts(), 12u);
    EXPECT_EQ(supervisor.processes()[0]->last_end().message(), "control ended with exit code 3");
    ASSERT_TRUE(sleep_for(Duration::seconds(11)).ok());
    rig.machine.kill("control");
    ASSERT_TRUE(sleep_for(Duration::seconds(1)).ok());
    EXPECT_EQ(supervisor.processes()[0]->state(), ProcessState::kRunning);
    EXPECT_EQ(supervisor.processes()[0]->last_end().message(), "control was killed by signal 9");
  });
  const std::vector<Duration> pauses = rig.pauses("control");
  ASSERT_EQ(pauses.size(), 13u);
  // Half of each pause is drawn, and the model's wait() looks each millisecond.
  EXPECT_GE(pauses[0], Duration::millis(10));
  EXPECT_LE(pauses[0], Duration::millis(23));
  EXPECT_GE(pauses[5], Duration::millis(320));
  EXPECT_LE(pauses[5], Duration::millis(650));
  EXPECT_GE(pauses[11], Duration::millis(1500));
  EXPECT_LE(pauses[11], Duration::millis(3010));
  EXPECT_LE(pauses[12], Duration::millis(23)) << "a life that lasted forgets the ends before it";
  std::set<uint64_t> incarnations;
  for (const ModelLife& life : rig.machine.lives()) incarnations.insert(life.incarnation);
  EXPECT_EQ(incarnations.size(), rig.machine.lives().size());
  EXPECT_FALSE(incarnations.contains(0));
}

TEST(Supervisor, AStartIsGivenUpWithTheReasonOfTheOneThatCannot) {
  Rig rig(4);
  rig.machine.behaviour("safekeeper-2").fails = 1000;
  rig.run([&](World&, Supervisor& supervisor) {
    add_daemons(supervisor);
    const Status failed = supervisor.wait_ready();
    EXPECT_TRUE(failed.is(Code::kUnavailable));
    EXPECT_EQ(failed.message(), "safekeeper-2 ended with exit code 3");
    EXPECT_EQ(failed.detail().hint, "its last words are in log/safekeeper-2.log");
  });
  Rig mute(5);
  mute.machine.behaviour("control").listens_after = Duration::seconds(1000);
  mute.run([&](World&, Supervisor& supervisor) {
    supervisor.add(daemon("control", 2), 0);
    const Status failed = supervisor.wait_ready();
    EXPECT_TRUE(failed.is(Code::kDeadlineExceeded)) << failed.to_string();
    EXPECT_EQ(failed.detail().object, "control:7000");
  });
  Rig absent(6);
  absent.run([&](World&, Supervisor& supervisor) {
    ProcessSpec spec = daemon("control", 2);
    spec.arguments[0] = "/no/such/file";
    supervisor.add(spec, 0);
    const Status failed = supervisor.wait_ready();
    EXPECT_TRUE(failed.is(Code::kNotFound)) << failed.to_string();
  });
}

TEST(Supervisor, WhatDoesNotStopIsKilledAtItsLimitOrAtOnce) {
  Rig rig(7);
  rig.machine.behaviour("safekeeper-1").ignores_stop = true;
  rig.run([&](World&, Supervisor& supervisor) {
    supervisor.add(daemon("safekeeper-1", 11), 0);
    ASSERT_TRUE(supervisor.wait_ready().ok());
    const Instant before = now();
    ASSERT_TRUE(supervisor.stop().ok());
    EXPECT_GE(now() - before, Duration::seconds(10));
    EXPECT_LT(now() - before, Duration::millis(10100));
  });
  EXPECT_EQ(rig.count(ProcessEvent::Kind::kKilled, "safekeeper-1"), 1u);
  Rig impatient(8);
  impatient.machine.behaviour("safekeeper-1").ignores_stop = true;
  impatient.run([&](World&, Supervisor& supervisor) {
    supervisor.add(daemon("safekeeper-1", 11), 0);
    ASSERT_TRUE(supervisor.wait_ready().ok());
    const Instant before = now();
    Scope scope("stop");
    scope.spawn("stop", [&] { return supervisor.stop(); });
    ASSERT_TRUE(sleep_for(Duration::millis(200)).ok());
    supervisor.kill();
    ASSERT_TRUE(scope.join().ok());
    EXPECT_LT(now() - before, Duration::millis(300));
  });
}

TEST(Supervisor, AStopEndsAPauseBetweenLives) {
  Rig rig(9);
  rig.machine.behaviour("control").fails = 1000;
  rig.run([&](World&, Supervisor& supervisor) {
    supervisor.add(daemon("control", 2), 0);
    ASSERT_TRUE(sleep_for(Duration::seconds(20)).ok());
    const Instant before = now();
    ASSERT_TRUE(supervisor.stop().ok());
    EXPECT_LT(now() - before, Duration::millis(20));
    EXPECT_EQ(supervisor.processes()[0]->state(), ProcessState::kStopped);
  });
}

TEST(Supervisor, StartNumbersMakeLateAndRepeatedRequestsHarmless) {
  Rig rig(10);
  rig.run([&](World&, Supervisor& supervisor) {
    const std::string name = compute_name("main");
    EXPECT_TRUE(supervisor.start_compute(start_of("../x", 1)).is(Code::kInvalid));
    EXPECT_TRUE(supervisor.start_compute(start_of("-x", 1)).is(Code::kInvalid));
    EXPECT_TRUE(supervisor.start_compute(start_of("x", 0)).is(Code::kInvalid));
    ASSERT_TRUE(supervisor.start_compute(start_of("main", 5)).ok());
    ASSERT_TRUE(supervisor.start_compute(start_of("main", 5)).ok());
    EXPECT_EQ(rig.machine.lives().size(), 1u);
    EXPECT_TRUE(supervisor.start_compute(start_of("main", 4)).is(Code::kStale));
    EXPECT_TRUE(supervisor.stop_compute(kTenant, "main", 4, false).is(Code::kStale));
    EXPECT_TRUE(rig.machine.alive(name));
    const ModelLife life = *rig.machine.last(name);
    EXPECT_EQ(life.environment.at("VARVE_COMPUTE_TOKEN"), "a token");
    EXPECT_EQ(life.environment.at("VARVE_X"), "1");
    EXPECT_EQ(std::count(life.arguments.begin(), life.arguments.end(), "a token"), 0);

    // A later start takes the place; the former process is gone before the new one begins.
    ASSERT_TRUE(supervisor.start_compute(start_of("main", 6)).ok());
    EXPECT_EQ(rig.machine.lives().size(), 2u);
    EXPECT_LE(rig.machine.lives()[0].ended, rig.machine.lives()[1].begun);

    ASSERT_TRUE(supervisor.stop_compute(kTenant, "main", 6, false).ok());
    EXPECT_FALSE(rig.machine.alive(name));
    ASSERT_TRUE(supervisor.stop_compute(kTenant, "main", 6, false).ok());
    EXPECT_TRUE(supervisor.start_compute(start_of("main", 6)).is(Code::kStale))
        << "a start that was overtaken by its own stop";
    ASSERT_TRUE(supervisor.stop_compute(kTenant, "other", 3, true).ok());
    ASSERT_TRUE(supervisor.start_compute(start_of("main", 7)).ok());
    EXPECT_TRUE(rig.machine.alive(name));
  });
}

TEST(Supervisor, ARepeatedStartTakesUpWhatAnImpatientCallerLeft) {
  Rig rig(14);
  rig.machine.behaviour(compute_name("main")).ignores_stop = true;
  rig.run([&](World&, Supervisor& supervisor) {
    ASSERT_TRUE(supervisor.start_compute(start_of("main", 1)).ok());
    {
      const DeadlineGuard soon(Duration::seconds(1));
      EXPECT_TRUE(supervisor.start_compute(start_of("main", 2)).is(Code::kDeadlineExceeded));
    }
    ASSERT_TRUE(supervisor.start_compute(start_of("main", 2)).ok());
    ASSERT_EQ(rig.machine.lives().size(), 2u);
    EXPECT_TRUE(rig.machine.alive(compute_name("main")));
    EXPECT_GE(rig.machine.lives()[0].ended - rig.machine.lives()[0].begun,
              rig.options.compute_stop_limit);
  });
}

TEST(Supervisor, AComputeThatEndsByItsOwnDecisionIsNotBegunAgain) {
  Rig rig(11);
  rig.machine.behaviour(compute_name("done")).ends = true;
  rig.run([&](World&, Supervisor& supervisor) {
    ASSERT_TRUE(supervisor.start_compute(start_of("done", 1)).ok());
    ASSERT_TRUE(supervisor.start_compute(start_of("killed", 1)).ok());
    ASSERT_TRUE(sleep_for(Duration::millis(200)).ok());
    rig.machine.kill(compute_name("killed"));
    ASSERT_TRUE(sleep_for(Duration::seconds(2)).ok());
    EXPECT_FALSE(rig.machine.alive(compute_name("done")));
    EXPECT_TRUE(rig.machine.alive(compute_name("killed")));
    EXPECT_EQ(rig.machine.lives().size(), 3u);
    ASSERT_TRUE(supervisor.start_compute(start_of("done", 1)).ok()) << "as the first time";
    EXPECT_EQ(rig.machine.lives().size(), 3u);
  });
}

TEST(Supervisor, AnImmediateStopOvertakesASlowOne) {
  Rig rig(12);
  rig.machine.behaviour(compute_name("main")).ignores_stop = true;
  rig.run([&](World&, Supervisor& supervisor) {
    ASSERT_TRUE(supervisor.start_compute(start_of("main", 1)).ok());
    Scope scope("slow stop");
    const Instant before = now();
    scope.spawn("slow stop", [&] { return supervisor.stop_compute(kTenant, "main", 1, false); });
    ASSERT_TRUE(sleep_for(Duration::millis(50)).ok());
    ASSERT_TRUE(supervisor.stop_compute(kTenant, "main", 1, true).ok());
    ASSERT_TRUE(scope.join().ok());
    EXPECT_LT(now() - before, Duration::millis(200));
  });
}

// --- Over RPC, under faults ---

TEST(Supervisor, KeepsWhatIsWantedUnderFaults) {
  const char* wanted = std::getenv("VARVE_SEEDS");
  const uint64_t seeds = wanted == nullptr ? 10 : std::strtoull(wanted, nullptr, 10);
  const char* one = std::getenv("VARVE_SEED");
  const uint64_t first = one == nullptr ? 1 : std::strtoull(one, nullptr, 10);
  uint64_t deaths = 0;
  for (uint64_t seed = first; seed < first + (one == nullptr ? seeds : 1); ++seed) {
    SCOPED_TRACE("VARVE_SEED=" + std::to_string(seed));
    sim::Simulation sim(seed, Rig::log_options());
    testing::SupervisedRun run(sim);
    ASSERT_EQ(run.run(), "");
    deaths += run.deaths();
  }
  if (one == nullptr && seeds >= 10) {
    EXPECT_GT(deaths, 0u);
  }
}

TEST(Supervisor, ForgetsAnEndpointOfWhichNothingRuns) {
  Rig rig(14);
  rig.run([&](World&, Supervisor& supervisor) {
    ASSERT_TRUE(supervisor.start_compute(start_of("a", 5)).ok());
    EXPECT_TRUE(supervisor.forget_compute(kTenant, "a", 5).is(Code::kRefused)) << "it runs";
    ASSERT_TRUE(supervisor.stop_compute(kTenant, "a", 5, false).ok());
    EXPECT_TRUE(supervisor.forget_compute(kTenant, "a", 4).is(Code::kStale));
    EXPECT_TRUE(supervisor.forget_compute(kTenant, "../b", 5).is(Code::kInvalid));
    EXPECT_TRUE(rig.forgotten.empty());
    for (int again = 0; again < 2; ++again)
      EXPECT_TRUE(supervisor.forget_compute(kTenant, "a", 5).ok());
    EXPECT_EQ(rig.forgotten, (std::vector<std::string>{"a", "a"}));
    EXPECT_TRUE(supervisor.start_compute(start_of("a", 5)).is(Code::kStale)) << "a late message";
    EXPECT_TRUE(supervisor.start_compute(start_of("a", 7)).ok()) << "the next of this name";
  });
}

TEST(Supervisor, CutsLogsThatHaveGrownTooLong) {
  Rig rig(15);
  rig.run([&](World& world, Supervisor&) {
    Disk& disk = world.disk;
    ASSERT_TRUE(disk.make_directory("log").ok());
    ASSERT_TRUE(replace_file(disk, "log/short.log", Bytes::copy(std::string(100, 's'))).ok());
    ASSERT_TRUE(replace_file(disk, "log/other", Bytes::copy(std::string(5000, 'o'))).ok());
    for (const char letter : {'a', 'b'}) {
      // More than one piece, with a last one that is not whole.
      const std::string text((2 << 20) + 77, letter);
      ASSERT_TRUE(replace_file(disk, "log/long.log", Bytes::copy(text)).ok());
      const Status kept = keep_logs_once(world, 4096, "log");
      ASSERT_TRUE(kept.ok()) << kept.to_string();
      const auto size = [&](const char* path) { return take(read_file(disk, path)).size(); };
      EXPECT_EQ(size("log/long.log"), 0u);
      EXPECT_EQ(size("log/short.log"), 100u);
      EXPECT_EQ(size("log/other"), 5000u);
      const Bytes former = take(read_file(disk, "log/long.log.1"));
      EXPECT_TRUE(former.view() == text);
      EXPECT_EQ(take(disk.list("log")).size(), 4u);
      EXPECT_TRUE(keep_logs_once(world, 4096, "log").ok());
      EXPECT_EQ(size("log/long.log.1"), text.size()) << "only what grows is cut";
    }
  });
}

TEST(Supervisor, TellsItsStateToNodesAndAdminsOnly) {
  Rig rig(13);
  rig.run([&](World& world, Supervisor& supervisor) {
    add_daemons(supervisor);
    ASSERT_TRUE(supervisor.wait_ready().ok());
    Budget memory("supervisor", 16 << 20);
    RpcServer server(world.clock, world.log, world.metrics,
                     RpcIdentity{NodeId(1), {}, "supervisor"}, testing::model_verifier(), memory);
    add_methods(server, supervisor);
    Result<std::unique_ptr<Listener>> listener = world.network.listen(kPort);
    ASSERT_TRUE(listener.ok());
    Scope serving("serve");
    serving.spawn("serve", [&] { return server.serve(**listener); });
    const auto ask = [&](const std::string& token) {
      Scope scope("ask");
      RpcClient client(world.network, world.random, scope, kPort, token, RpcIdentity());
      return call<proto::HostStatusResponse>(client, kHostStatus, proto::HostStatusRequest());
    };
    for (const TokenScope scope : {TokenScope::kNode, TokenScope::kAdmin}) {
      const auto status = ask(testing::model_token(scope));
      ASSERT_TRUE(status.ok()) << status.status().to_string();
      ASSERT_EQ(status->processes_size(), 5);
      EXPECT_EQ(status->processes(0).name(), "control");
      EXPECT_EQ(status->processes(0).state(), proto::PROCESS_RUNNING);
      EXPECT_EQ(status->processes(0).incarnation(), rig.machine.last("control")->incarnation);
      EXPECT_EQ(status->processes(4).addresses(0), "pageserver-1:7000");
    }
    TokenClaims claims;
    claims.scope = TokenScope::kTimeline;
    claims.tenant = kTenant;
    claims.timeline = kTimeline;
    claims.issued_to = "a compute";
    const std::string small = TokenSigner::from_seed({5}).sign(claims);
    EXPECT_TRUE(ask(small).is(Code::kRefused));
    EXPECT_TRUE(ask("").is(Code::kRefused));
    serving.cancel();
    serving.join().ignore("cancelled");
  });
}

}  // namespace
}  // namespace varve::supervisor
