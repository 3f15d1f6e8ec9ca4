// A pageserver behind its RPC in the seeded world, asked by another node.
#include <gtest/gtest.h>

#include <algorithm>

#include "sim/world.h"
#include "storage/client/backup_client.h"
#include "storage/client/page_client.h"
#include "storage/client/timeline_client.h"
#include "storage/service/methods.h"
#include "storage/testing/model_cluster.h"
#include "storage/testing/root_timeline.h"

namespace varve::storage {
namespace {

using testing::ModelCluster;

constexpr Duration kLong = Duration::seconds(600);
const Address kAddress{"pageserver", 6400};
const Lsn kStart(uint64_t{16} << 20);
const Lsn kPrevious((uint64_t{16} << 20) - 120);

TenantShardId tenant_id() {
  return {*TenantId::parse("00112233445566778899aabbccddeeff"), 0, 1};
}
TimelineId timeline_id(uint8_t n) {
  TimelineId id;
  id.bytes[15] = n;
  return id;
}

// Serves one tenant whose root is fed slowly from the model's log.
void serve(World& world, sim::Simulation& sim, const ModelCluster& model) {
  ObjectStore& objects = sim.object_store(world);
  ASSERT_TRUE(
      testing::make_root(objects, tenant_id(), timeline_id(1), Generation(1), kStart, kPrevious)
          .ok());
  Scope scope("pageserver");
  Pageserver pageserver(world, objects, {}, {}, scope);
  ASSERT_TRUE(pageserver.attach(tenant_id(), Generation(2)).ok());
  EXPECT_TRUE(pageserver.attach(tenant_id(), Generation(1)).is(Code::kStale));
  Timeline* root = *pageserver.timeline(tenant_id(), timeline_id(1));
  scope.spawn("feed", [&]() -> Status {
    while (root->wanted() < model.end()) {
      const std::span<const uint8_t> rest = model.log(root->wanted());
      VARVE_TRY(root->receive(root->wanted(), rest.first(std::min<size_t>(rest.size(), 20000))));
      VARVE_TRY(sleep_for(Duration::millis(3)));
    }
    return Status();
  });
  const TokenVerifier verifier({TokenSigner::from_seed({7}).public_key()});
  Budget memory("rpc", 64 << 20);
  RpcServer server(world.clock, world.log, world.metrics, {NodeId(1), Incarnation(1), "pageserver"},
                   verifier, memory);
  add_pageserver_methods(server, pageserver);
  auto listener = world.network.listen(kAddress);
  ASSERT_TRUE(listener.ok());
  server.serve(**listener).ignore("ends with the node");
  scope.cancel();
  pageserver.stop();
}

std::string token(TokenScope scope, const TimelineId& timeline) {
  TokenClaims claims;
  claims.scope = scope;
  if (scope == TokenScope::kTimeline) {
    claims.tenant = tenant_id().tenant;
    claims.timeline = timeline;
  }
  claims.issued_to = "test";
  return TokenSigner::from_seed({7}).sign(claims);
}

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomStream log = sim_.fork("log");
    for (int i = 0; i < 1500; ++i) model_.step(log);
  }
  // Runs `client` on a node of its own with connections for the root's compute and for control.
  void run(const std::function<void(RpcClient& compute, RpcClient& node)>& client) {
    sim_.start(sim_.add_node("pageserver", [&](World& world) { serve(world, sim_, model_); }));
    bool done = false;
    sim_.start(sim_.add_node("client", [&](World& world) {
      Scope scope("client");
      {
        RpcClient compute(world.network, world.random, scope, kAddress,
                          token(TokenScope::kTimeline, timeline_id(1)), {NodeId(), {}, "compute"});
        RpcClient node(world.network, world.random, scope, kAddress, token(TokenScope::kNode, {}),
                       {NodeId(), {}, "control"});
        while (!node.peer().ok()) {
          if (!sleep_for(Duration::millis(10)).ok()) return;
        }
        client(compute, node);
      }
      done = true;
    }));
    EXPECT_TRUE(sim_.run_until([&] { return done; }, kLong)) << *sim_.failure();
  }

  sim::Simulation sim_{5};
  ModelCluster model_{kStart, kPrevious};
};

TEST_F(ServiceTest, PagesAreServedAtAPositionThatIsWaitedFor) {
  uint64_t equal = 0;
  run([&](RpcClient& compute, RpcClient&) {
    RandomStream random(1, "pages");
    for (int i = 0; i < 300; ++i) {
      // Ahead of ingest at first: the answer waits.
      const Lsn lsn = model_.ends()[random.below(model_.ends().size())];
      const wal::RelationId relation{testing::kTablespace, 5,
                                     static_cast<uint32_t>(16384 + random.below(4))};
      PageRunRequest run;
      run.key = relation_page_key(testing::kTablespace, 5, relation.relation, 0, 0);
      ASSERT_EQ(run.key, Key::block({relation, wal::Fork::kMain, 0}).bytes);
      run.count = static_cast<uint32_t>(1 + random.below(20));
      run.request_lsn = lsn;
      run.not_modified_since = lsn;
      const auto pages = get_pages(compute, tenant_id(), timeline_id(1), {run});
      ASSERT_TRUE(pages.ok()) << pages.status().to_string();
      ASSERT_EQ(pages->size(), run.count);
      const std::optional<uint32_t> size = model_.size({relation, wal::Fork::kMain}, lsn);
      for (uint32_t block = 0; block < run.count; ++block) {
        const Result<FetchedPage>& page = (*pages)[block];
        if (!size) {
          EXPECT_TRUE(page.is(Code::kNotFound)) << page.status().to_string();
          continue;
        }
        ASSERT_TRUE(page.ok()) << page.status().to_string();
        EXPECT_EQ(page->lsn, lsn);
        EXPECT_EQ(page->beyond_end, block >= *size);
        if (block >= *size) continue;
        EXPECT_TRUE(std::ranges::equal(page->page.span(),
                                       *model_.page({relation, wal::Fork::kMain, block}, lsn)));
        ++equal;
      }
    }
    PageRunRequest status_page;
    status_page.key = status_page_key(static_cast<uint32_t>(wal::Slru::kClog), 0);
    ASSERT_EQ(status_page.key, Key::slru_block({wal::Slru::kClog, 0}).bytes);
    ASSERT_EQ(status_page_key(3, 0x01020304),
              Key::slru_block({static_cast<wal::Slru>(3), 0x01020304}).bytes);
    status_page.request_lsn = Lsn::max();
    status_page.not_modified_since = model_.end();
    const auto clog = get_pages(compute, tenant_id(), timeline_id(1), {status_page});
    ASSERT_TRUE(clog.ok() && (*clog)[0].ok());
    EXPECT_TRUE(std::ranges::equal((*clog)[0]->page.span(), *model_.clog(0, model_.end())));
    EXPECT_FALSE(get_pages(compute, tenant_id(), timeline_id(2), {status_page}).ok());
  });
  EXPECT_GT(equal, 500u);
}

// A compute whose term is over gets no pages, not even those that it asked for before.
TEST_F(ServiceTest, AWriterOfAnOlderTermIsRefused) {
  run([&](RpcClient& compute, RpcClient&) {
    PageRunRequest run;
    run.key = status_page_key(static_cast<uint32_t>(wal::Slru::kClog), 0);
    run.request_lsn = run.not_modified_since = model_.end();
    const auto ask = [&](uint64_t term) {
      return get_pages(compute, tenant_id(), timeline_id(1), {run}, Term(term)).status();
    };
    Status old;
    Scope scope("an old writer");
    scope.spawn("an old writer", [&] { old = ask(4); });
    ASSERT_TRUE(sleep_for(Duration::millis(1)).ok());
    EXPECT_TRUE(ask(5).ok());
    ASSERT_TRUE(scope.join().ok());
    EXPECT_TRUE(old.is(Code::kStale)) << old.to_string();
    EXPECT_TRUE(ask(4).is(Code::kStale));
    EXPECT_TRUE(ask(5).ok());
    EXPECT_TRUE(ask(0).ok());  // writes nothing
    EXPECT_TRUE(ask(6).ok());
    EXPECT_TRUE(ask(5).is(Code::kStale));
  });
}

TEST_F(ServiceTest, BackupsBranchesAndTimes) {
  run([&](RpcClient& compute, RpcClient& node) {
    const Result<TimelineState> state =
        timeline_status(compute, tenant_id(), timeline_id(1), model_.end());
    ASSERT_TRUE(state.ok()) << state.status().to_string();
    EXPECT_EQ(state->last_record, model_.end());
    const auto notes = quarantine(compute, tenant_id(), timeline_id(1));
    EXPECT_TRUE(notes.ok() && notes->empty()) << notes.status().to_string();

    const Result<FetchedBackup> backup =
        base_backup(compute, tenant_id(), timeline_id(1), model_.end());
    ASSERT_TRUE(backup.ok()) << backup.status().to_string();
    EXPECT_EQ(backup->lsn, model_.end());
    EXPECT_EQ(backup->last_record_start, model_.start_of(model_.ends().size() - 1));
    EXPECT_EQ(backup->control_file.view(), "control file");
    const Lsn past = model_.ends()[model_.ends().size() / 2];
    EXPECT_TRUE(base_backup(compute, tenant_id(), timeline_id(1), past).is(Code::kStale));
    EXPECT_TRUE(base_backup(compute, tenant_id(), timeline_id(1), past, BackupAt::kPast).ok());
    std::map<uint32_t, uint32_t> blocks;  // of database 5
    for (const FetchedBackup::Fork& fork : backup->forks) {
      if (fork.relation.database == 5) blocks[fork.relation.relation] = fork.blocks;
    }
    for (uint32_t relation = 16384; relation < 16388; ++relation) {
      const auto size =
          model_.size({{testing::kTablespace, 5, relation}, wal::Fork::kMain}, model_.end());
      EXPECT_EQ(blocks.contains(relation), size.has_value());
      if (size) {
        EXPECT_EQ(blocks[relation], *size);
      }
    }

    RandomStream random(2, "branches");
    for (uint8_t n = 2; n < 30; ++n) {
      const size_t record = random.below(model_.ends().size() - 1);
      // Any byte of the next record: rounded down to its start's boundary.
      const Lsn end = model_.ends()[record];
      const Lsn wanted(end.value + random.below(model_.ends()[record + 1] - end));
      for (int again = 0; again < 2; ++again) {
        const Result<LogPlace> made = branch_timeline(node, tenant_id(), Generation(2),
                                                      timeline_id(n), timeline_id(1), wanted);
        ASSERT_TRUE(made.ok()) << made.status().to_string();
        EXPECT_EQ(made->lsn, end);
        EXPECT_EQ(made->last_record_start, model_.start_of(record));
      }
      EXPECT_TRUE(
          branch_timeline(node, tenant_id(), Generation(1), timeline_id(n), timeline_id(1), wanted)
              .is(Code::kStale));
    }

    // Postgres' rule, naively: before the first transaction that ended later.
    for (int i = 0; i < 200; ++i) {
      const int64_t time =
          model_.times().front().second + static_cast<int64_t>(random.below(100000)) - 3000;
      const Result<PlaceInTime> found =
          lsn_by_time(compute, tenant_id(), timeline_id(1), WallTime{time});
      ASSERT_TRUE(found.ok()) << found.status().to_string();
      const auto later =
          std::ranges::find_if(model_.times(), [&](const auto& t) { return t.second > time; });
      EXPECT_EQ(found->at_end, later == model_.times().end());
      Lsn expected = model_.end();
      if (later != model_.times().end()) {
        const auto record = std::ranges::find(model_.ends(), later->first);
        expected = record == model_.ends().begin() ? kStart : *std::prev(record);
      }
      EXPECT_EQ(found->place.lsn, expected);
    }
  });
}

TEST_F(ServiceTest, DetachingEndsWhatIsServed) {
  run([&](RpcClient& compute, RpcClient& node) {
    ASSERT_TRUE(timeline_status(compute, tenant_id(), timeline_id(1), model_.end()).ok());
    ASSERT_TRUE(sleep_for(Duration::millis(50)).ok());  // the test's own feeding has ended
    Status waiting;
    Scope scope("waits for ever");
    scope.spawn("waits for ever", [&] {
      waiting = timeline_status(compute, tenant_id(), timeline_id(1), model_.end() + 1000).status();
    });
    ASSERT_TRUE(sleep_for(Duration::millis(50)).ok());
    EXPECT_TRUE(detach_tenant(node, tenant_id(), Generation(1)).is(Code::kStale));
    EXPECT_TRUE(detach_tenant(node, tenant_id(), Generation(2)).ok());
    EXPECT_TRUE(detach_tenant(node, tenant_id(), Generation(2)).ok());
    ASSERT_TRUE(scope.join().ok());
    EXPECT_TRUE(waiting.is(Code::kUnavailable)) << waiting.to_string();
    EXPECT_TRUE(timeline_status(compute, tenant_id(), timeline_id(1)).is(Code::kNotFound));
    // A call that comes late brings nothing back.
    EXPECT_TRUE(attach_tenant(node, tenant_id(), Generation(2)).is(Code::kStale));
    const auto again = attach_tenant(node, tenant_id(), Generation(3));
    ASSERT_TRUE(again.ok()) << again.status().to_string();
    EXPECT_EQ(*again, std::vector<TimelineId>{timeline_id(1)});
    EXPECT_TRUE(timeline_status(compute, tenant_id(), timeline_id(1)).ok());
  });
}

TEST_F(ServiceTest, ADeletedBranchIsGoneForEver) {
  run([&](RpcClient& compute, RpcClient& node) {
    const TimelineId child = timeline_id(2);
    const TimelineId grandchild = timeline_id(3);
    const auto branch = [&](const TimelineId& id, const TimelineId& parent, Lsn lsn) {
      return branch_timeline(node, tenant_id(), Generation(2), id, parent, lsn).status();
    };
    const auto remove = [&](const TimelineId& id, uint64_t generation = 2) {
      return delete_timeline(node, tenant_id(), Generation(generation), id);
    };
    const Lsn middle = model_.ends()[model_.ends().size() / 2];
    ASSERT_TRUE(timeline_status(compute, tenant_id(), timeline_id(1), model_.end()).ok());
    ASSERT_TRUE(branch(child, timeline_id(1), model_.end()).ok());
    // Of its own, and not of what it shares.
    ASSERT_TRUE(branch(grandchild, child, model_.end()).ok());
    ASSERT_TRUE(branch(timeline_id(4), timeline_id(1), middle).ok());
    EXPECT_TRUE(remove(timeline_id(1)).is(Code::kRefused));
    EXPECT_TRUE(remove(child, 1).is(Code::kStale));
    EXPECT_TRUE(timeline_status(node, tenant_id(), child).ok());
    // What waits for it is told.
    Status waiting;
    Scope asking("ask about what is deleted");
    asking.spawn("ask about what is deleted", [&] {
      waiting = timeline_status(node, tenant_id(), grandchild, model_.end() + 100).status();
    });
    ASSERT_TRUE(sleep_for(Duration::millis(5)).ok());
    ASSERT_TRUE(remove(grandchild).ok());
    ASSERT_TRUE(asking.join().ok());
    EXPECT_TRUE(waiting.is(Code::kNotFound)) << waiting.to_string();
    ASSERT_TRUE(remove(child).ok());
    ASSERT_TRUE(remove(child).ok());
    // One that never was: a late call must not make it.
    ASSERT_TRUE(remove(timeline_id(9)).ok());
    for (const TimelineId& id : {child, grandchild, timeline_id(9)}) {
      EXPECT_TRUE(timeline_status(node, tenant_id(), id).is(Code::kNotFound));
      EXPECT_TRUE(branch(id, timeline_id(1), middle).is(Code::kRefused));
    }
    EXPECT_TRUE(timeline_status(node, tenant_id(), timeline_id(4)).ok());
    // In later lives, too, and whatever arrives late.
    ASSERT_TRUE(attach_tenant(node, tenant_id(), Generation(3)).ok());
    EXPECT_TRUE(branch_timeline(node, tenant_id(), Generation(3), child, timeline_id(1), kStart)
                    .is(Code::kRefused));
    const auto timelines = attach_tenant(node, tenant_id(), Generation(3));
    ASSERT_TRUE(timelines.ok());
    EXPECT_EQ(timelines->size(), 1u) << "the other branch is ahead of what was flushed";
  });
}

// One life of a pageserver that makes a branch and deletes it.
struct Deletion {
  Status live(ObjectStore& objects, Pageserver& pageserver) {
    if (!rooted) {
      VARVE_TRY(testing::make_root(objects, tenant_id(), timeline_id(1), Generation(1), kStart,
                                   kPrevious));
      rooted = true;
    }
    const Generation mine(generation);
    VARVE_TRY(pageserver.attach(tenant_id(), mine).status());
    const auto gone = [&] {
      return pageserver.timeline(tenant_id(), timeline_id(2)).status().is(Code::kNotFound);
    };
    EXPECT_TRUE(!answered || gone()) << "it came back";
    VARVE_TRY(pageserver.with_tenant(tenant_id(), mine, nullptr, [&](Tenant& tenant) -> Status {
      const Status made = tenant.branch(timeline_id(2), timeline_id(1), kStart).status();
      EXPECT_TRUE(!answered || made.is(Code::kRefused)) << made.to_string();
      return made.is(Code::kRefused) ? Status() : made;
    }));
    VARVE_TRY(pageserver.delete_timeline(tenant_id(), mine, timeline_id(2)));
    answered = true;
    EXPECT_TRUE(gone());
    EXPECT_TRUE(pageserver.timeline(tenant_id(), timeline_id(1)).ok());
    VARVE_TRY_ASSIGN(left, objects.list(timeline_prefix(tenant_id(), timeline_id(2)), "", 10));
    return Status();
  }

  uint64_t generation = 1;
  bool rooted = false;
  bool answered = false;  // that it is deleted
  std::vector<ObjectInfo> left;
};

// It dies in between, and operations of the store fail or arrive late: what was answered for stays
// deleted, and nothing of it is left in the end.
TEST(ServiceDeletion, SurvivesCrashesAndLateObjects) {
  uint64_t faults = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    sim::Simulation sim(seed);
    Deletion deletion;
    bool healed = false;
    bool done = false;
    const NodeId node = sim.add_node("pageserver", [&](World& world) {
      ObjectStore& objects = sim.object_store(world);
      for (;;) {
        ++deletion.generation;
        Scope scope("pageserver");
        Pageserver pageserver(world, objects, {}, {}, scope);
        const bool last = healed;
        const Status status = deletion.live(objects, pageserver);
        pageserver.stop();
        if (status.is(Code::kCancelled)) return;
        if (status.ok() && last) break;
        const Duration pause = healed ? Duration::seconds(5) : Duration::millis(20);
        if (!sleep_for(pause).ok()) return;
      }
      EXPECT_TRUE(deletion.left.empty()) << deletion.left[0].key << ", seed " << seed;
      done = true;
    });
    sim.start(node);
    sim::FaultPlan plan = sim::FaultPlan::draw(sim.fork("plan"));
    RandomStream more = sim.fork("more");
    plan.nemesis.crash_every = Duration::millis(static_cast<int64_t>(more.between(20, 400)));
    plan.objects.error_rate = static_cast<uint32_t>(more.below(200000));
    plan.objects.ambiguous_rate = static_cast<uint32_t>(more.below(300000));
    plan.disk.sync_error_rate = 0;
    sim.unleash(plan);
    ASSERT_TRUE(sim.run_for(Duration::seconds(4))) << "seed " << seed << ": " << *sim.failure();
    sim.heal();
    ASSERT_TRUE(sim.run_for(Duration::seconds(10))) << "seed " << seed << ": " << *sim.failure();
    healed = true;
    ASSERT_TRUE(sim.run_until([&] { return done; }, kLong))
        << "seed " << seed << ": " << *sim.failure();
    faults += sim.faults().total();
  }
  EXPECT_GT(faults, 300u);
}

// A store whose objects with certain names were edited: a byte in the middle is another.
class EditedObjects : public ObjectStore {
 public:
  EditedObjects(ObjectStore& objects, std::vector<std::string> edited)
      : objects_(objects), edited_(std::move(edited)) {}

  Mutation put(std::string_view key, std::vector<Bytes> content) override {
    return objects_.put(key, std::move(content));
  }
  Result<Bytes> get(std::string_view key, std::optional<ByteRange> range) override {
    VARVE_TRY_ASSIGN(const Bytes whole, objects_.get(key));
    std::vector<uint8_t> bytes(whole.data(), whole.data() + whole.size());
    for (const std::string& start : edited_) {
      if (key.starts_with(start)) bytes[bytes.size() / 2] ^= 1;
    }
    const ByteRange wanted = range.value_or(ByteRange{0, bytes.size()});
    return Bytes::copy(std::span(bytes).subspan(wanted.offset, wanted.length));
  }
  Result<ObjectInfo> head(std::string_view key) override { return objects_.head(key); }
  Result<std::vector<ObjectInfo>> list(std::string_view prefix, std::string_view after,
                                       size_t limit) override {
    return objects_.list(prefix, after, limit);
  }
  Mutation remove(std::vector<std::string> keys) override {
    return objects_.remove(std::move(keys));
  }

 private:
  ObjectStore& objects_;
  std::vector<std::string> edited_;
};

TEST(ServiceDamage, EditedObjectsAreNamedAndTheRestServes) {
  sim::Simulation sim(6);
  bool done = false;
  sim.start(sim.add_node("pageserver", [&](World& world) {
    EditedObjects objects(sim.object_store(world),
                          {timeline_prefix(tenant_id(), timeline_id(2)) + "index-",
                           timeline_prefix(tenant_id(), timeline_id(3)) + "image-"});
    for (uint8_t n = 1; n <= 3; ++n) {
      ASSERT_TRUE(
          testing::make_root(objects, tenant_id(), timeline_id(n), Generation(1), kStart, kPrevious)
              .ok());
    }
    Scope scope("pageserver");
    Pageserver pageserver(world, objects, {}, {}, scope);
    const auto attached = pageserver.attach(tenant_id(), Generation(2));
    ASSERT_TRUE(attached.ok()) << attached.status().to_string();
    EXPECT_EQ(*attached, std::vector<TimelineId>{timeline_id(1)});
    EXPECT_TRUE(pageserver.timeline(tenant_id(), timeline_id(1)).ok());
    const Status index = pageserver.timeline(tenant_id(), timeline_id(2)).status();
    EXPECT_TRUE(index.is(Code::kCorrupt)) << index.to_string();
    EXPECT_NE(index.to_string().find("index-"), std::string::npos) << index.to_string();
    const Status layer = pageserver.timeline(tenant_id(), timeline_id(3)).status();
    EXPECT_TRUE(layer.is(Code::kCorrupt)) << layer.to_string();
    EXPECT_NE(layer.to_string().find("image-"), std::string::npos) << layer.to_string();
    pageserver.stop();
    done = true;
  }));
  EXPECT_TRUE(sim.run_until([&] { return done; }, kLong)) << *sim.failure();
}

}  // namespace
}  // namespace varve::storage
