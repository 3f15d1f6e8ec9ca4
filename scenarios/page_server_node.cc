// The pageservers of page_service, and what control does with them.
#include <algorithm>

#include "scenarios/page_fleet.h"
#include "sim/objects.h"
#include "storage/remote/index.h"
#include "storage/service/methods.h"
#include "storage/testing/root_timeline.h"
#include "wire/rpc_server.h"

namespace varve::scenarios {
namespace {

using storage::Pageserver;
using storage::Tenant;
using storage::Timeline;

constexpr uint16_t kPagePort = 6400;
constexpr Duration kTick = Duration::millis(50);

}  // namespace

Address PageFleet::address_of(size_t pageserver) const {
  return {"pageserver-" + std::to_string(pageserver + 1), kPagePort};
}

void PageFleet::pageserver(World& world, size_t index) {
  Scope scope("pageserver");
  storage::LogSource source;
  for (const consensus::Member& member : membership_.members) {
    source.safekeepers.push_back(consensus::address_of(member));
  }
  source.credentials = {{}, std::string(kToken), "pageserver"};
  Pageserver pageserver(world, simulation_.object_store(world), pageserver_options_,
                        std::move(source), scope);
  scope.spawn("serve pages", [&] { return serve_pages(world, pageserver, index); });
  keep_attached(world, pageserver, index).ignore("ends when this life is cancelled");
  scope.cancel();
  const Shield shield;
  scope.join().ignore("cancelled");
  pageserver.stop();
}

Status PageFleet::serve_pages(World& world, Pageserver& pageserver, size_t index) {
  const TokenVerifier verifier({TokenSigner::from_seed({7}).public_key()});
  Budget memory("rpc", 64 << 20);
  RpcServer server(world.clock, world.log, world.metrics,
                   {NodeId(index + 1), Incarnation(1), address_of(index).host}, verifier, memory);
  add_pageserver_methods(server, pageserver);
  for (;;) {
    auto listener = world.network.listen(address_of(index));
    if (listener.ok()) return server.serve(**listener);
    VARVE_TRY(sleep_for(kTick));
  }
}

Status PageFleet::keep_attached(World& world, Pageserver& pageserver, size_t index) {
  uint64_t seen = 0;  // which of control's wishes this life has carried out
  std::optional<Generation> mine;
  std::vector<Lsn> flushed(timelines_.size());
  for (;;) {
    VARVE_TRY(sleep_for(kTick));
    if (attached_to_ == index && seen != wanted_attachment_) {
      const uint64_t wish = wanted_attachment_;
      const Result<Generation> attached = attach(world, pageserver, index);
      VARVE_TRY(check_cancelled());
      if (!attached.ok()) continue;
      mine = *attached;
      seen = wish;
      flushed.assign(timelines_.size(), Lsn());
      if (attached_to_ == index && wish == wanted_attachment_) serving_ = *mine;
    } else if (attached_to_ != index && mine && world.random.below(40, "detach") == 0) {
      // Told at last that the tenant is elsewhere.
      VARVE_TRY(pageserver.detach(tenant_, *mine));
      mine.reset();
    } else if (mine) {
      look_at(pageserver, flushed);
      if (world.random.below(10, "flush") == 0) flush(world, pageserver);
    }
  }
}

// Under a generation of its own, whatever becomes of the attempt.
Result<Generation> PageFleet::attach(World& world, Pageserver& pageserver, size_t index) {
  if (!rooted_) {
    const PageTimeline& root = timelines_[0];
    VARVE_TRY(storage::testing::make_root(simulation_.object_store(world), tenant_,
                                          root.id.timeline, Generation(next_generation_++),
                                          root.log.start(), Lsn(root.log.start().value - 120)));
    rooted_ = true;
  }
  const Generation generation(next_generation_++);
  VARVE_TRY(pageserver.attach(tenant_, generation).status());
  simulation_.mark(generation.value << 8 | index);
  return generation;
}

// What is durable never goes back within an attachment, and nothing is visible that no log has.
void PageFleet::look_at(const Pageserver& pageserver, std::vector<Lsn>& flushed) {
  for (size_t i = 0; i < timelines_.size(); ++i) {
    const auto found = pageserver.timeline(tenant_, timelines_[i].id.timeline);
    if (!found.ok()) continue;
    const Timeline& timeline = **found;
    const std::string name = "timeline " + std::to_string(i + 1) + ": ";
    if (timeline.flushed() < flushed[i]) simulation_.violation(name + "what was durable is not");
    if (timeline.flushed() > timeline.last_record()) {
      simulation_.violation(name + "durable beyond what was ingested");
    }
    if (timeline.last_record() > timelines_[i].log.end()) {
      simulation_.violation(name + "ingested beyond the end of its log");
    }
    if (timeline.quarantined() != 0) simulation_.violation(name + "a good record is quarantined");
    flushed[i] = timeline.flushed();
  }
}

void PageFleet::flush(World& world, const Pageserver& pageserver) {
  const PageTimeline& drawn = timelines_[world.random.below(timelines_.size(), "which to flush")];
  const auto timeline = pageserver.timeline(tenant_, drawn.id.timeline);
  if (!timeline.ok()) return;
  const DeadlineGuard soon(Duration::millis(200));
  (*timeline)->flush().ignore("it is done later, when memory fills");
}

// ---- control

void PageFleet::move_tenant() {
  attached_to_ = (attached_to_ + 1) % kPageservers;
  ++wanted_attachment_;
  serving_ = Generation();
  ++moves_;
}

// A machine that is replaced: same address, empty disk.
void PageFleet::lose_disk(size_t index) {
  const NodeId node = pageservers_[index];
  simulation_.crash(node, sim::Crash::kPowerCut);
  simulation_.wipe_disk(node);
  if (attached_to_ == index) serving_ = Generation();
  simulation_.at(Duration::millis(300), [this, node] {
    if (!simulation_.up(node)) simulation_.start(node);
  });
}

// The newest index of each generation names only layers that are there.
void PageFleet::check_objects() {
  const auto& objects = simulation_.objects().objects();
  for (const PageTimeline& timeline : timelines_) {
    const std::string prefix = storage::timeline_prefix(tenant_, timeline.id.timeline);
    std::optional<storage::TimelineIndex> newest;
    const std::string indexes = prefix + "index-";
    for (auto at = objects.lower_bound(indexes);
         at != objects.end() && at->first.starts_with(indexes); ++at) {
      // "index-<generation>-<sequence>"
      const std::string same_generation = at->first.substr(0, at->first.rfind('-') + 1);
      if (const auto next = std::next(at);
          next != objects.end() && next->first.starts_with(same_generation)) {
        continue;
      }
      auto index =
          storage::decode_index(tenant_.tenant, timeline.id.timeline, at->second, at->first);
      if (!index.ok()) return simulation_.violation(index.status().to_string());
      for (const storage::LayerRef& layer : index->layers) {
        if (objects.contains(prefix + layer->name())) continue;
        return simulation_.violation(at->first + " names " + layer->name() +
                                     ", which is not there");
      }
      newest = std::move(*index);
    }
    if (!newest) return simulation_.violation(prefix + " has no index");
    images_ += static_cast<uint64_t>(std::ranges::count_if(newest->layers, [&](const auto& layer) {
      return layer->is_image() && layer->lsn.start > timelines_[0].start;
    }));
  }
}

}  // namespace varve::scenarios
