// A safekeeper with both its ports in the seeded world: what control asks, who may read what.
#include "consensus/safekeeper/service.h"

#include <gtest/gtest.h>

#include "consensus/client/methods.h"
#include "consensus/client/safekeeper_client.h"
#include "consensus/testing/cluster.h"

namespace varve::consensus {
namespace {

using testing::kStart;
using testing::server_info;

const Address kWal{"sk1", testing::kPort};
const Address kRpc{"sk1", 5455};
constexpr Duration kLong = Duration::seconds(600);

TenantTimelineId timeline(uint8_t number) {
  TenantTimelineId id = testing::timeline_id();
  id.timeline.bytes[15] = number;
  return id;
}

Membership alone() {
  Membership membership;
  membership.generation = Configuration(1);
  membership.members.push_back({NodeId(1), kWal.host, kWal.port});
  return membership;
}

std::string token(TokenScope scope, const TenantTimelineId& id, uint64_t expiry = 0) {
  TokenClaims claims;
  claims.scope = scope;
  if (scope == TokenScope::kTimeline || scope == TokenScope::kTenant) claims.tenant = id.tenant;
  if (scope == TokenScope::kTimeline) claims.timeline = id.timeline;
  claims.expiry = expiry;
  claims.issued_to = "test";
  return TokenSigner::from_seed({7}).sign(claims);
}

Credentials credentials(const TenantTimelineId& id) {
  return {id, token(TokenScope::kTimeline, id), "test"};
}

void serve(World& world) {
  const SafekeeperOptions options;
  const TokenVerifier verifier({TokenSigner::from_seed({7}).public_key()});
  SignedTokenCheck tokens(verifier, world.clock);
  Budget memory("rpc", 64 << 20);
  Scope scope("safekeeper");
  TimelineRegistry registry(world, NodeId(1), options, scope);
  SafekeeperServer wal(world, registry, tokens, options, scope);
  RpcServer rpc(world.clock, world.log, world.metrics, {NodeId(1), Incarnation(1), "sk1"}, verifier,
                memory);
  add_safekeeper_methods(rpc, registry);
  ASSERT_TRUE(registry.start().ok());
  ASSERT_TRUE(wal.start(kWal).ok());
  auto listener = world.network.listen(kRpc);
  ASSERT_TRUE(listener.ok());
  rpc.serve(**listener).ignore("ends with the node");
  wal.stop();
  registry.stop();
}

// Complete records of the log that begins at `start`.
std::vector<uint8_t> records(Lsn start, size_t bytes) {
  wal::LogWriter writer(testing::identity(), start, Lsn());
  std::vector<uint8_t> log;
  while (log.size() < bytes) {
    const std::vector<uint8_t> data(5000, static_cast<uint8_t>(log.size() / 100));
    wal::RecordParts parts;
    parts.rmid = static_cast<uint8_t>(wal::Rmgr::kLogicalMessage);
    parts.main_data = data;
    std::vector<uint8_t> raw = wal::build_record(*testing::identity().version, parts);
    writer.append(raw, log);
  }
  return log;
}

class SafekeeperService : public ::testing::Test {
 protected:
  void run(const std::function<void(World& world, RpcClient& control)>& client) {
    safekeeper_ = sim_.add_node("sk1", serve);
    sim_.start(safekeeper_);
    bool done = false;
    sim_.start(sim_.add_node("client", [&](World& world) {
      Scope scope("client");
      {
        RpcClient control(world.network, world.random, scope, kRpc, token(TokenScope::kNode, {}),
                          {NodeId(2), {}, "control"});
        while (!control.peer().ok()) {
          if (!sleep_for(Duration::millis(10)).ok()) return;
        }
        client(world, control);
      }
      done = true;
    }));
    EXPECT_TRUE(sim_.run_until([&] { return done; }, kLong)) << *sim_.failure();
  }

  // Restarts the safekeeper after a power cut and waits until it answers.
  void cut_power(RpcClient& control) {
    sim_.restart(safekeeper_, sim::Crash::kPowerCut, Duration::millis(5));
    control.disconnect();
    do {
      ASSERT_TRUE(sleep_for(Duration::millis(20)).ok());
    } while (!control.peer().ok());
  }

  static NewTimeline root() { return {timeline(1), alone(), server_info(), kStart, {}, {}}; }

  // Writes `log` and waits until it is committed and the safekeeper knows.
  static void push(World& world, const TenantTimelineId& id, const std::vector<uint8_t>& log,
                   RpcClient& control) {
    Scope scope("push");
    const ProposerOptions options;
    ProposerDriver driver(world, {id, alone(), server_info()}, credentials(id), options, scope);
    const auto won = driver.elect();
    ASSERT_TRUE(won.ok()) << won.status().to_string();
    ASSERT_TRUE(driver.append(Bytes::copy(log)).ok());
    const Lsn end = won->start + log.size();
    ASSERT_TRUE(driver.wait_committed(end).ok());
    for (;;) {
      const auto report = timeline_report(control, id);
      ASSERT_TRUE(report.ok());
      if (report->commit >= end) break;
      driver.heartbeat();
      ASSERT_TRUE(sleep_for(Duration::millis(1)).ok());
    }
    driver.stop(Status(Code::kCancelled, "written"));
  }

  static std::vector<uint8_t> read(World& world, const TenantTimelineId& id, Lsn begin, Lsn end) {
    // What lies in front of a branch comes a little later.
    Result<std::unique_ptr<LogStream>> stream = Status(Code::kInternal, "not opened");
    Result<std::vector<Bytes>> pieces = Status(Code::kInternal, "not read");
    for (int attempt = 0; attempt < 100 && !pieces.ok(); ++attempt) {
      stream = LogStream::open(world.network, kWal, credentials(id), begin, std::nullopt);
      pieces = stream.ok() ? (*stream)->read(end - begin) : stream.status();
      if (!pieces.ok() && !sleep_for(Duration::millis(10)).ok()) break;
    }
    EXPECT_TRUE(pieces.ok()) << pieces.status().to_string();
    if (!pieces.ok()) return {};
    const Bytes all = concatenate(*pieces);
    return {all.data(), all.data() + all.size()};
  }

  sim::Simulation sim_{3};
  NodeId safekeeper_;
};

TEST_F(SafekeeperService, CreatesTellsAndDeletes) {
  run([&](World&, RpcClient& control) {
    ASSERT_TRUE(create_timeline(control, root()).ok());
    // Repeated, also after a crash.
    EXPECT_TRUE(create_timeline(control, root()).ok());
    cut_power(control);
    EXPECT_TRUE(create_timeline(control, root()).ok());
    NewTimeline other = root();
    other.start = kStart + kWalPageSize + 24;
    EXPECT_TRUE(create_timeline(control, other).is(Code::kExists));

    const auto report = timeline_report(control, timeline(1));
    ASSERT_TRUE(report.ok()) << report.status().to_string();
    EXPECT_TRUE(report->state.ok());
    EXPECT_EQ(report->membership, alone());
    EXPECT_EQ(report->flush, kStart);
    EXPECT_EQ(report->local_start, kStart);
    EXPECT_TRUE(timeline_report(control, timeline(9)).is(Code::kNotFound));
    const auto all = timeline_reports(control);
    ASSERT_TRUE(all.ok());
    EXPECT_EQ(all->size(), 1u);

    ASSERT_TRUE(delete_timeline(control, timeline(1)).ok());
    EXPECT_TRUE(delete_timeline(control, timeline(1)).ok());
    cut_power(control);
    EXPECT_TRUE(create_timeline(control, root()).is(Code::kRefused));
    EXPECT_TRUE(timeline_report(control, timeline(1)).is(Code::kNotFound));
  });
}

// The pageserver reads every branch, so a deletion finds a reader that waits for more.
TEST_F(SafekeeperService, DeletesUnderAReader) {
  run([&](World& world, RpcClient& control) {
    ASSERT_TRUE(create_timeline(control, root()).ok());
    const std::vector<uint8_t> log = records(kStart, 20000);
    push(world, timeline(1), log, control);
    auto stream =
        LogStream::open(world.network, kWal, credentials(timeline(1)), kStart, std::nullopt);
    ASSERT_TRUE(stream.ok());
    ASSERT_TRUE((*stream)->read(log.size()).ok());
    ASSERT_TRUE(delete_timeline(control, timeline(1)).ok());
    EXPECT_FALSE((*stream)->read(8).ok());
    EXPECT_TRUE(timeline_report(control, timeline(1)).is(Code::kNotFound));
    EXPECT_EQ(sim_.lives(safekeeper_), 1u);
  });
}

TEST_F(SafekeeperService, RefusesWhatItCannotBeAMemberOf) {
  run([&](World& world, RpcClient& control) {
    NewTimeline foreign = root();
    foreign.membership.members.front().node = NodeId(2);
    EXPECT_TRUE(create_timeline(control, foreign).is(Code::kInvalid));
    NewTimeline odd = root();
    odd.server.segment_size = 12345;
    EXPECT_TRUE(create_timeline(control, odd).is(Code::kInvalid));
    NewTimeline torn = root();
    torn.start = kStart + 3;
    EXPECT_TRUE(create_timeline(control, torn).is(Code::kInvalid));
    Scope scope("tenant");
    RpcClient tenant(world.network, world.random, scope, kRpc,
                     token(TokenScope::kTenant, timeline(1)), {});
    EXPECT_TRUE(create_timeline(tenant, root()).is(Code::kRefused));
    EXPECT_TRUE(timeline_reports(tenant).is(Code::kRefused));
  });
}

TEST_F(SafekeeperService, ABranchBeginsWithItsParentsLog) {
  run([&](World& world, RpcClient& control) {
    {
      const DeadlineGuard deadline(Duration::seconds(2));
      ASSERT_TRUE(create_timeline(control, root()).ok());
    }
    // A timeline doesn't end with the deadline of the call that created it.
    ASSERT_TRUE(sleep_for(Duration::seconds(4)).ok());
    const std::vector<uint8_t> log = records(kStart, 300000);
    push(world, timeline(1), log, control);
    const Lsn at = kStart + log.size();
    ASSERT_TRUE(create_timeline(control,
                                {timeline(2), alone(), server_info(), at, timeline(1).timeline, {}})
                    .ok());
    // What stands in front of its start comes later, and is refused until then.
    const auto early =
        LogStream::open(world.network, kWal, credentials(timeline(2)), kStart, std::nullopt);
    EXPECT_TRUE(early.is(Code::kBelowCutoff)) << early.status().to_string();
    ASSERT_TRUE(sleep_for(SafekeeperOptions().prefix_delay + Duration::seconds(1)).ok());
    EXPECT_EQ(read(world, timeline(2), kStart, at), log);
    cut_power(control);
    EXPECT_EQ(read(world, timeline(2), kStart, at), log);
    // It goes on by itself, and so does its parent.
    const std::vector<uint8_t> more = records(at, 50000);
    push(world, timeline(2), more, control);
    EXPECT_EQ(read(world, timeline(2), at, at + more.size()), more);
    EXPECT_EQ(timeline_report(control, timeline(1))->flush, at);
    // A parent that is not here, or not so far, makes no difference to whether it is created.
    NewTimeline orphan{timeline(3), alone(), server_info(), at, timeline(9).timeline, {}};
    EXPECT_TRUE(create_timeline(control, orphan).ok());
    NewTimeline ahead{timeline(4),          alone(), server_info(), at + more.size(),
                      timeline(1).timeline, {}};
    EXPECT_TRUE(create_timeline(control, ahead).ok());
    // Both refuse what they don't have.
    for (const uint8_t number : {3, 4}) {
      const auto refused =
          LogStream::open(world.network, kWal, credentials(timeline(number)), kStart, std::nullopt);
      EXPECT_TRUE(refused.is(Code::kBelowCutoff)) << refused.status().to_string();
    }
  });
}

TEST_F(SafekeeperService, ATokenOpensItsTimelineOnly) {
  run([&](World& world, RpcClient& control) {
    ASSERT_TRUE(create_timeline(control, root()).ok());
    const auto open = [&](const std::string& password) {
      return open_session(world.network, kWal, {timeline(1), password, "test"}).status();
    };
    for (const TokenScope scope :
         {TokenScope::kTimeline, TokenScope::kTenant, TokenScope::kNode, TokenScope::kAdmin}) {
      EXPECT_TRUE(open(token(scope, timeline(1))).ok()) << token_scope_name(scope);
    }
    TenantTimelineId stranger = timeline(1);
    stranger.tenant.bytes[0] ^= 1;
    EXPECT_TRUE(open(token(TokenScope::kTimeline, timeline(2))).is(Code::kRefused));
    EXPECT_TRUE(open(token(TokenScope::kTenant, stranger)).is(Code::kRefused));
    const auto past = static_cast<uint64_t>(world.clock.wall().to_unix_seconds() - 1);
    EXPECT_TRUE(open(token(TokenScope::kTimeline, timeline(1), past)).is(Code::kRefused));
    EXPECT_TRUE(open("").is(Code::kRefused));
    EXPECT_TRUE(open("token").is(Code::kRefused));
  });
}

// Nothing else tells a standby of one branch that it was pointed to another: system identifier,
// timeline number and positions are the same.
TEST_F(SafekeeperService, ASlotOfAnotherTimelineIsRefusedByBothNames) {
  run([&](World& world, RpcClient& control) {
    ASSERT_TRUE(create_timeline(control, root()).ok());
    const auto stream = [&](const std::string& slot) -> Status {
      const Credentials own{timeline(1), token(TokenScope::kTimeline, timeline(1)), "test"};
      VARVE_TRY_ASSIGN(const auto session, open_session(world.network, kWal, own));
      return session->start_copy("START_REPLICATION SLOT \"" + slot + "\" PHYSICAL " +
                                 kStart.to_string() + " TIMELINE 1");
    };
    const auto slot_of = [](const TenantTimelineId& id) {
      return "timeline_" + id.timeline.to_string();
    };
    EXPECT_TRUE(stream(slot_of(timeline(1))).ok());
    EXPECT_TRUE(stream("anything").ok());
    const Status refused = stream(slot_of(timeline(2)));
    EXPECT_FALSE(refused.ok());
    for (const TenantTimelineId& id : {timeline(1), timeline(2)}) {
      EXPECT_NE(refused.to_string().find(id.timeline.to_string()), std::string::npos)
          << refused.to_string();
    }
    EXPECT_FALSE(stream("timeline_2").ok());
  });
}

}  // namespace
}  // namespace varve::consensus
