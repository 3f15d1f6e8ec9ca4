// The nodes of the page_service scenario and what they share. Internal to it.
//
// Two timelines: a root, and a branch of it that diverges. Each has a compute that pushes a log
// whose content was drawn before the run, so that it knows what every page must be at every LSN,
// whoever wins which term. Two pageservers, of which control has attached the tenant to one; the
// other may still hold it under an older generation.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "consensus/proposer/driver.h"
#include "scenarios/oracles/page_oracle.h"
#include "scenarios/safekeeper_node.h"
#include "sim/world.h"
#include "storage/service/pageserver.h"
#include "wire/rpc_client.h"

namespace varve::scenarios {

// One timeline as all nodes know it. Outlives them and holds no fiber.
struct PageTimeline {
  TenantTimelineId id;
  storage::testing::ModelCluster log;
  Lsn start;             // where it begins to differ from its parent
  Lsn committed;         // the quorum has told a compute so
  bool created = false;  // it is in the object store and wanted by the safekeepers
};

class PageFleet {
 public:
  explicit PageFleet(sim::Simulation& simulation);

  void run();

  uint64_t pages_compared() const { return pages_compared_; }
  uint64_t moves() const { return moves_; }
  bool branched() const { return timelines_[1].created; }
  uint64_t images() const { return images_; }
  bool verified() const { return rounds_verified_ == kRounds; }

 private:
  static constexpr size_t kPageservers = 2;
  static constexpr int kRounds = 2;  // verified after the faults, and after the loss of the disks

  // --- before the run (page_fleet.cc)
  void draw_logs(RandomStream draw);
  void draw_limits(RandomStream draw);
  void add_nodes();

  // --- computes (page_fleet.cc)
  void compute(World& world, PageTimeline& timeline);
  Status one_term(World& world, PageTimeline& timeline);
  Status push(World& world, PageTimeline& timeline, consensus::ProposerDriver& driver);
  bool all_written() const;

  // --- pageservers (page_server_node.cc)
  void pageserver(World& world, size_t index);
  Status serve_pages(World& world, storage::Pageserver& pageserver, size_t index);
  Status keep_attached(World& world, storage::Pageserver& pageserver, size_t index);
  Result<Generation> attach(World& world, storage::Pageserver& pageserver, size_t index);
  void look_at(const storage::Pageserver& pageserver, std::vector<Lsn>& flushed);
  void flush(World& world, const storage::Pageserver& pageserver);
  void move_tenant();
  void lose_disk(size_t index);
  void check_objects();

  // --- readers and control (page_reader.cc)
  void reader(World& world);
  PageQuestion draw_question(World& world, const PageTimeline& timeline) const;
  Result<bool> ask(RpcClient& client, const PageTimeline& timeline, const PageQuestion& question);
  void control(World& world);
  Status make_branch(World& world, RpcClient& client);
  void verifier(World& world);
  Status verify(World& world, const PageTimeline& timeline);
  std::unique_ptr<RpcClient> connect(World& world, Scope& scope, size_t pageserver) const;
  Address address_of(size_t pageserver) const;

  sim::Simulation& simulation_;
  TenantShardId tenant_;
  consensus::Membership membership_;
  consensus::ServerInfo server_;
  consensus::SafekeeperOptions safekeeper_options_;
  consensus::ProposerOptions proposer_options_;
  storage::PageserverOptions pageserver_options_;
  WantedTimelines wanted_;
  std::vector<PageTimeline> timelines_;  // root, branch
  std::vector<NodeId> safekeepers_;
  std::vector<NodeId> pageservers_;

  // Control's table: which pageserver has the tenant, under which generation; 0 while it has not
  // answered yet.
  size_t attached_to_ = 0;
  uint64_t wanted_attachment_ = 1;
  uint64_t next_generation_ = 1;
  Generation serving_;
  bool rooted_ = false;
  bool calm_ = false;
  int rounds_verified_ = 0;

  uint64_t pages_compared_ = 0;
  uint64_t moves_ = 0;
  uint64_t images_ = 0;
};

}  // namespace varve::scenarios
