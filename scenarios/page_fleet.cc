#include "scenarios/page_fleet.h"

#include <algorithm>

namespace varve::scenarios {
namespace {

using consensus::ProposerDriver;
using storage::testing::ModelCluster;

constexpr uint16_t kWalPort = 5454;
constexpr uint64_t kMembers = 3;
const Lsn kStart(uint64_t{16} << 20);  // of a segment
const Lsn kPrevious(kStart.value - 120);

}  // namespace

PageFleet::PageFleet(sim::Simulation& simulation) : simulation_(simulation) {
  tenant_.tenant.bytes[0] = 1;
  tenant_.count = 1;
  server_ = {150000, ModelCluster::identity().system_id, ModelCluster::identity().segment_size};
  membership_.generation = Configuration(1);
  for (uint64_t i = 1; i <= kMembers; ++i) {
    membership_.members.push_back({NodeId(i), "safekeeper-" + std::to_string(i), kWalPort});
  }
  draw_logs(simulation.fork("logs"));
  draw_limits(simulation.fork("limits"));
  wanted_.specs.push_back({timelines_[0].id, membership_, server_, kStart, Bytes()});
}

void PageFleet::draw_logs(RandomStream draw) {
  const uint64_t records = draw.between(100, 500);
  const uint64_t shared = draw.between(20, records - 20);
  ModelCluster root(kStart, kPrevious);
  RandomStream root_log = draw.fork("root");
  for (uint64_t i = 0; i < shared; ++i) root.step(root_log);
  ModelCluster branch = root;
  const Lsn branch_start = root.end();
  RandomStream branch_log = draw.fork("branch");
  for (uint64_t i = shared; i < records; ++i) root.step(root_log);
  for (uint64_t i = shared; i < records; ++i) branch.step(branch_log);
  TenantTimelineId root_id{tenant_.tenant, {}};
  root_id.timeline.bytes[15] = 1;
  TenantTimelineId branch_id{tenant_.tenant, {}};
  branch_id.timeline.bytes[15] = 2;
  timelines_.push_back({root_id, std::move(root), kStart, kStart, true});
  timelines_.push_back({branch_id, std::move(branch), branch_start, branch_start, false});
}

// Small, so that a short log fills many layers and every queue.
void PageFleet::draw_limits(RandomStream draw) {
  storage::StorageOptions& storage = pageserver_options_.storage;
  storage.timeline.open_layer_bytes = draw.between(16 << 10, 300 << 10);
  storage.timeline.max_frozen_layers = static_cast<uint32_t>(draw.between(1, 3));
  storage.timeline.max_level0_layers = static_cast<uint32_t>(draw.between(4, 8));
  storage.compaction.level0_threshold = static_cast<uint32_t>(draw.between(1, 4));
  storage.compaction.image_threshold = static_cast<uint32_t>(draw.between(1, 3));
  storage.compaction.target_layer_bytes = draw.between(16 << 10, 300 << 10);
  storage.format.block_bytes = static_cast<uint32_t>(draw.between(200, 20000));
  storage.ingest.cached_sizes = static_cast<uint32_t>(draw.between(16, 40));
  storage.timeline.compaction_delay = Duration::millis(200);
  draw_options(safekeeper_options_, draw);
  proposer_options_.reconnect_pause = Duration::millis(static_cast<int64_t>(draw.between(20, 500)));
  proposer_options_.heartbeat = Duration::millis(static_cast<int64_t>(draw.between(50, 1000)));
  proposer_options_.silence = Duration::millis(static_cast<int64_t>(draw.between(2000, 8000)));
}

void PageFleet::add_nodes() {
  for (const consensus::Member& member : membership_.members) {
    safekeepers_.push_back(add_safekeeper(simulation_, member, safekeeper_options_, wanted_));
  }
  for (size_t i = 0; i < kPageservers; ++i) {
    pageservers_.push_back(simulation_.add_node(address_of(i).host,
                                                [this, i](World& world) { pageserver(world, i); }));
  }
  for (size_t i = 0; i < timelines_.size(); ++i) {
    simulation_.add_node("compute-" + std::to_string(i + 1),
                         [this, i](World& world) { compute(world, timelines_[i]); });
  }
  simulation_.protect(simulation_.add_node("control", [this](World& world) { control(world); }));
  simulation_.protect(simulation_.add_node("reader", [this](World& world) { reader(world); }));
}

// ---- computes

bool PageFleet::all_written() const {
  return std::ranges::all_of(timelines_, [](const auto& t) { return t.committed == t.log.end(); });
}

void PageFleet::compute(World& world, PageTimeline& timeline) {
  while (!verified()) {
    const Status end =
        timeline.created ? one_term(world, timeline) : sleep_for(Duration::millis(100));
    if (end.is(Code::kCancelled)) return;
    const auto pause = static_cast<int64_t>(1 + world.random.below(500, "pause between terms"));
    if (!sleep_for(Duration::millis(pause)).ok()) return;
  }
}

Status PageFleet::one_term(World& world, PageTimeline& timeline) {
  Scope scope("term");
  ProposerDriver driver(world, {timeline.id, membership_, server_},
                        {timeline.id, std::string(kToken), "scenario"}, proposer_options_, scope);
  Status status;
  {
    const DeadlineGuard patience(Duration::seconds(20));
    status = push(world, timeline, driver);
  }
  driver.stop(Status(Code::kCancelled, "the term is over"));
  return check_cancelled().ok() ? Status() : check_cancelled();
}

// Whoever wins goes on with the same log where the quorum's ends: what was drawn is what is true.
Status PageFleet::push(World& world, PageTimeline& timeline, ProposerDriver& driver) {
  VARVE_TRY_ASSIGN(const consensus::WonElection won, driver.elect());
  if (won.start < timeline.committed) {
    simulation_.violation("a term begins at " + won.start.to_string() +
                          ", below what was acknowledged: " + timeline.committed.to_string());
    return Status(Code::kInternal, "acknowledged WAL is lost");
  }
  VARVE_TRY(driver.wait_committed(won.start));
  timeline.committed = std::max(timeline.committed, won.start);
  const std::vector<Lsn>& ends = timeline.log.ends();
  auto next = std::ranges::upper_bound(ends, won.start);
  for (Lsn at = won.start; next != ends.end();) {
    const uint64_t records = 1 + world.random.below(12, "records of a batch");
    next +=
        static_cast<int64_t>(std::min<uint64_t>(records, static_cast<uint64_t>(ends.end() - next)));
    const Lsn end = *std::prev(next);
    VARVE_TRY(driver.append(Bytes::copy(timeline.log.log(at).first(end - at))));
    VARVE_TRY(driver.wait_committed(end));
    timeline.committed = std::max(timeline.committed, end);
    simulation_.mark(end.value);
    at = end;
    const uint64_t pause = calm_ ? 0 : world.random.below(150, "pause between batches");
    VARVE_TRY(sleep_for(Duration::millis(static_cast<int64_t>(pause))));
  }
  // It lives on: a member that missed the last commit position is told by nobody else.
  return driver.wait_closed();
}

// ---- the run

void PageFleet::run() {
  add_nodes();
  simulation_.start_all();
  RandomStream draw = simulation_.fork("disturbances");
  sim::FaultPlan plan = sim::FaultPlan::draw(simulation_.fork("plan"));
  // Only pageservers survive rot: their disks are copies of objects. A safekeeper refuses a log
  // that rotted, which is right and would end the run.
  if (draw.chance(500000)) plan.disk.bit_rot_rate = static_cast<uint32_t>(draw.below(20000));
  for (const NodeId node : safekeepers_) simulation_.keep_from_rot(node);
  simulation_.unleash(plan);
  for (uint64_t moves = draw.below(4); moves > 0; --moves) {
    simulation_.at(Duration::millis(static_cast<int64_t>(draw.between(500, 9000))),
                   [this] { move_tenant(); });
  }
  for (uint64_t losses = draw.below(4); losses > 0; --losses) {
    const size_t node = draw.below(kPageservers);
    simulation_.at(Duration::millis(static_cast<int64_t>(draw.between(500, 9000))),
                   [this, node] { lose_disk(node); });
  }
  if (!simulation_.run_for(Duration::seconds(10))) return;
  simulation_.heal();
  calm_ = true;
  simulation_.start(simulation_.add_node("verifier", [this](World& world) { verifier(world); }));
  if (!simulation_.run_until([this] { return rounds_verified_ == 1; }, Duration::seconds(300))) {
    return;
  }
  for (size_t i = 0; i < kPageservers; ++i) lose_disk(i);
  if (!simulation_.run_until([this] { return verified(); }, Duration::seconds(300))) return;
  check_objects();
}

}  // namespace varve::scenarios
