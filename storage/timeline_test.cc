// A tenant in the seeded world, against the naive cluster, under crashes, wiped and rotten disks
// and object operations that fail, arrive late or arrive after having failed.
#include <gtest/gtest.h>

#include <algorithm>

#include "sim/world.h"
#include "storage/backup/base_backup.h"
#include "storage/tenant.h"
#include "storage/testing/model_cluster.h"
#include "storage/testing/root_timeline.h"

namespace varve::storage {
namespace {

using testing::ForkId;
using testing::ModelCluster;

constexpr Duration kLong = Duration::seconds(3000);
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

StorageOptions small_options(RandomStream& random) {
  StorageOptions options;
  options.timeline.open_layer_bytes = random.between(260 << 10, 600 << 10);
  options.timeline.max_frozen_layers = static_cast<uint32_t>(random.between(1, 3));
  options.timeline.flush_interval =
      Duration::millis(static_cast<int64_t>(random.between(10, 2000)));
  options.timeline.max_level0_layers = static_cast<uint32_t>(random.between(4, 8));
  options.timeline.compaction_delay =
      Duration::millis(static_cast<int64_t>(random.between(0, 300)));
  options.compaction.level0_threshold = static_cast<uint32_t>(random.between(1, 4));
  options.compaction.image_threshold = static_cast<uint32_t>(random.between(1, 3));
  options.compaction.target_layer_bytes = random.between(4 << 10, 200 << 10);
  options.format.block_bytes = static_cast<uint32_t>(random.between(200, 20000));
  options.ingest.cached_sizes = static_cast<uint32_t>(random.between(16, 40));
  return options;
}

// Everything that a life compares goes here; the first difference ends the run.
class Checker {
 public:
  explicit Checker(sim::Simulation& sim) : sim_(sim) {}
  uint64_t pages() const { return pages_; }

  Status page(Timeline& timeline, const ModelCluster& model, const wal::BlockId& id, Lsn lsn) {
    Result<PageAnswer> answer = timeline.get_page(id, lsn);
    const std::optional<uint32_t> size = model.size({id.relation, id.fork}, lsn);
    const std::string where = Key::block(id).to_string() + " at " + lsn.to_string() + ": ";
    if (answer.is(Code::kCancelled) || answer.is(Code::kUnavailable)) return answer.status();
    ++pages_;
    if (!size) {
      if (!answer.is(Code::kNotFound)) wrong(where + "exists: " + answer.status().to_string());
      return Status();
    }
    if (!answer.ok()) {
      wrong(where + answer.status().to_string());
      return Status();
    }
    if (answer->beyond_end != (id.block >= *size)) wrong(where + "size differs");
    const testing::PageRef expected =
        id.block < *size ? model.page(id, lsn) : std::make_shared<testing::Page>(testing::Page{});
    if (!std::ranges::equal(answer->page.span(), *expected)) wrong(where + "bytes differ");
    return Status();
  }

  // A drawn page of a drawn fork, and what goes with it.
  Status random_read(Timeline& timeline, const ModelCluster& model, Lsn from, Lsn upto,
                     RandomStream& random) {
    const Lsn lsn = from + random.below(upto - from + 1);
    wal::BlockId id;
    id.relation.tablespace = testing::kTablespace;
    id.relation.database = random.chance(600000) ? 5 : static_cast<uint32_t>(10 + random.below(3));
    id.relation.relation = static_cast<uint32_t>(16384 + random.below(4));
    const std::optional<uint32_t> size = model.size({id.relation, id.fork}, lsn);
    id.block = static_cast<uint32_t>(random.below(size.value_or(0) + 2));
    VARVE_TRY(page(timeline, model, id, lsn));
    if (random.chance(100000)) {
      const testing::PageRef clog = model.clog(0, lsn);
      const Result<Bytes> answer = timeline.get_slru_page({wal::Slru::kClog, 0}, lsn);
      if (answer.is(Code::kCancelled) || answer.is(Code::kUnavailable)) return answer.status();
      const bool same = clog == nullptr ? answer.is(Code::kNotFound)
                                        : answer.ok() && std::ranges::equal(answer->span(), *clog);
      if (!same) wrong("pg_xact at " + lsn.to_string() + ": " + answer.status().to_string());
    }
    return Status();
  }

  Status backup(Timeline& timeline, const ModelCluster& model, Lsn lsn) {
    const Result<BaseBackup> backup = make_base_backup(timeline, lsn);
    if (backup.is(Code::kCancelled) || backup.is(Code::kUnavailable)) return backup.status();
    if (!backup.ok()) {
      wrong("backup: " + backup.status().to_string());
      return Status();
    }
    std::map<ForkId, uint32_t> forks;
    for (const BaseBackup::Fork& fork : backup->forks)
      forks[{fork.relation, fork.fork}] = fork.blocks;
    for (const auto& [fork, versions] : model.all_sizes()) {
      const std::optional<uint32_t> size = model.size(fork, lsn);
      const auto found = forks.find(fork);
      if ((found == forks.end()) != !size || (size && found->second != *size)) {
        wrong("backup at " + lsn.to_string() + ": size of " + fork.first.to_string());
      }
    }
    return Status();
  }

  void wrong(const std::string& what) { sim_.violation(what); }

 private:
  sim::Simulation& sim_;
  uint64_t pages_ = 0;
};

// Now and then a sender's bytes are rotten: the record they are in is refused, and asked for again.
Status feed(Timeline& timeline, const ModelCluster& model, RandomStream& random) {
  while (timeline.wanted() < model.end()) {
    const std::span<const uint8_t> rest = model.log(timeline.wanted());
    const size_t count = std::min<size_t>(rest.size(), 1 + random.below(60000));
    std::vector<uint8_t> piece(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(count));
    if (random.below(20) == 0) piece[random.below(count)] ^= 0x10;
    const Status status = timeline.receive(timeline.wanted(), piece);
    if (!status.is(Code::kCorrupt)) VARVE_TRY(status);
    VARVE_CHECK(timeline.log_failure().ok() == status.ok());
    VARVE_TRY(sleep_for(Duration::micros(static_cast<int64_t>(random.below(3000)))));
  }
  return timeline.flush();
}

struct Shared {
  ModelCluster model{kStart, kPrevious};
  ModelCluster child{kStart, kPrevious};
  Lsn branch;
  uint64_t generation = 0;
  bool rooted = false;
  bool done = false;
  uint64_t images = 0;
  uint64_t level1 = 0;
};

// One attachment: ingests both timelines, reads meanwhile, then reads all again.
Status live(World& world, sim::Simulation& sim, Shared& shared, Checker& check,
            RandomStream random) {
  ObjectStore& objects = sim.object_store(world);
  const Generation generation(++shared.generation);
  if (!shared.rooted) {
    VARVE_TRY(
        testing::make_root(objects, tenant_id(), timeline_id(1), generation, kStart, kPrevious));
    shared.rooted = true;
    return Status(Code::kUnavailable, "once more, with a generation of its own");
  }
  Scope scope("life");
  // Room for not much more than one layer; at times less than what all want.
  OpenMemory memory(random.between(2 << 20, 5 << 20));
  BlockCache cache(random.below(1 << 20));
  Tenant tenant({world.disk, objects, world.offload, &memory}, tenant_id(), generation,
                small_options(random), cache, scope);
  const Status status = [&]() -> Status {
    VARVE_TRY(tenant.attach());
    for (const Tenant::Failure& failure : tenant.failures()) {
      if (!failure.status.is(Code::kUnavailable)) check.wrong(failure.status.to_string());
    }
    Timeline* root = tenant.find(timeline_id(1));
    if (root == nullptr) return Status(Code::kUnavailable, "the root is not attached");
    scope.spawn("feed the root", [&, root] {
      RandomStream pieces = random.fork("root pieces");
      return feed(*root, shared.model, pieces);
    });
    RandomStream reads = random.fork("reads");
    const auto read_some = [&](Timeline& timeline, const ModelCluster& model,
                               uint64_t count) -> Status {
      for (uint64_t i = 0; i < count; ++i) {
        VARVE_TRY(check.random_read(timeline, model, kStart, timeline.last_record(), reads));
        VARVE_TRY(sleep_for(Duration::micros(static_cast<int64_t>(reads.below(2000)))));
      }
      return Status();
    };
    VARVE_TRY(root->wait_for(shared.branch));
    VARVE_TRY(read_some(*root, shared.model, 30));
    Result<Timeline*> child = Status(Code::kUnavailable, "not yet");
    while (!child.ok()) {
      child = tenant.branch(timeline_id(2), timeline_id(1), shared.branch + reads.below(8));
      if (child.is(Code::kCancelled)) return child.status();
      if (child.is(Code::kExists)) check.wrong(child.status().to_string());
      if (!child.ok()) VARVE_TRY(sleep_for(Duration::millis(5)));
    }
    scope.spawn("feed the branch", [&, child = *child] {
      RandomStream pieces = random.fork("branch pieces");
      return feed(*child, shared.child, pieces);
    });
    while (root->flushed() < shared.model.end() || (*child)->flushed() < shared.child.end()) {
      VARVE_TRY(read_some(*root, shared.model, 5));
      VARVE_TRY(read_some(**child, shared.child, 5));
    }
    VARVE_TRY(read_some(*root, shared.model, 150));
    VARVE_TRY(read_some(**child, shared.child, 150));
    for (int i = 0; i < 3; ++i) {
      const Lsn at = shared.model.ends()[reads.below(shared.model.ends().size())];
      VARVE_TRY(check.backup(*root, shared.model, at));
    }
    VARVE_TRY(check.backup(**child, shared.child, shared.child.end()));
    for (const LayerRef& layer : root->layers().all()) {
      shared.images += layer->is_image() && layer->lsn.start > kStart ? 1 : 0;
      shared.level1 += !layer->is_image() && !layer->is_level0() ? 1 : 0;
    }
    shared.done = true;
    return Status();
  }();
  scope.cancel();
  scope.join().ignore("cancelled");
  if (random.below(2) == 0) {
    tenant.flush_and_stop();
  } else {
    tenant.stop();
  }
  if (memory.used() != 0) check.wrong("memory of open layers was not given back");
  return status;
}

struct Totals {
  uint64_t pages = 0;
  uint64_t images = 0;
  uint64_t level1 = 0;
};

void run(uint64_t seed, bool faults, uint64_t records, Totals& totals) {
  sim::Simulation sim(seed);
  Shared shared;
  RandomStream log = sim.fork("log");
  const uint64_t before_branch = records / 3;
  for (uint64_t i = 0; i < before_branch; ++i) shared.model.step(log);
  shared.child = shared.model;
  shared.branch = shared.model.end();
  RandomStream child_log = sim.fork("child log");
  for (uint64_t i = before_branch; i < records; ++i) shared.model.step(log);
  for (uint64_t i = before_branch; i < records; ++i) shared.child.step(child_log);
  Checker check(sim);
  const NodeId node = sim.add_node("pageserver", [&](World& world) {
    for (uint64_t attempt = 0; !shared.done; ++attempt) {
      const RandomStream random = sim.fork("life " + std::to_string(shared.generation));
      const Status status = live(world, sim, shared, check, random);
      if (status.is(Code::kCancelled)) return;
      if (!status.ok() && !sleep_for(Duration::millis(200)).ok()) return;
    }
  });
  sim.start(node);
  if (faults) {
    sim::FaultPlan plan = sim::FaultPlan::draw(sim.fork("plan"));
    RandomStream more = sim.fork("more");
    plan.nemesis.crash_every = Duration::millis(static_cast<int64_t>(more.between(300, 3000)));
    plan.objects.error_rate = static_cast<uint32_t>(more.below(100000));
    plan.objects.ambiguous_rate = static_cast<uint32_t>(more.below(300000));
    plan.disk.bit_rot_rate = static_cast<uint32_t>(more.below(20000));
    plan.disk.sync_error_rate = 0;
    sim.unleash(plan);
    ASSERT_TRUE(sim.run_for(Duration::seconds(8))) << "seed " << seed << ": " << *sim.failure();
    sim.heal();
  }
  ASSERT_TRUE(sim.run_until([&] { return shared.done; }, kLong))
      << "seed " << seed << ": " << *sim.failure();
  totals.pages += check.pages();
  totals.images += shared.images;
  totals.level1 += shared.level1;
}

TEST(TimelineSim, ServesEveryPageAtEveryLsn) {
  Totals totals;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    run(seed, false, 1500, totals);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(totals.pages, 2000u);
}

TEST(TimelineSim, ServesEveryPageUnderCrashesAndLateObjects) {
  Totals totals;
  for (uint64_t seed = 100; seed < 150; ++seed) {
    run(seed, true, 1200, totals);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(totals.pages, 15000u);
  EXPECT_GT(totals.images, 10u);
  EXPECT_GT(totals.level1, 50u);
}

}  // namespace
}  // namespace varve::storage
