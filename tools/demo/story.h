// The demo: what a user would do with Varve, and what fate would do to it, with a client that
// remembers every promise.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/lsn.h"
#include "tests/checker/proof.h"
#include "tests/checker/workload.h"
#include "tests/product/cluster.h"
#include "tools/demo/narrator.h"

namespace varve::demo {

struct StoryOptions {
  std::string executable;  // varve
  std::string scratch;     // an empty directory that user postgres may enter
  int power_cuts = 3;
};

class Story {
 public:
  Story(StoryOptions options, Narrator& narrator);

  // From the first start to the last stop. The first thing that is not as it must be ends it.
  Status tell();

 private:
  // A moment of the past: where and when it was, and what a client may believe of it.
  struct Moment {
    std::string lsn;
    std::string time;
    checker::Expectation expectation;
  };

  Status begin();
  Status branch_and_diverge();
  Status read_the_past();
  Status kill_parts_under_load();
  Status lose_the_disks();
  Status cut_the_power();
  Status end();

  Status kill_and_go_on(const std::string& part, const std::string& title);
  Status prove_main(const std::string& title);
  Status prove_branch(const std::string& branch, const checker::Journal& journal,
                      checker::Expectation expectation, const std::string& title);
  Result<Moment> note_moment();
  Status make_branch(const std::string& name, const tool::BranchPoint& point);
  Status make_past_branch(const std::string& name, const tool::BranchPoint& point,
                          const std::string& title);
  void start_load();
  Status stop_load();

  const StoryOptions options_;
  Narrator& narrator_;
  std::unique_ptr<product::Cluster> cluster_;
  std::string target_;  // of main
  std::unique_ptr<checker::Journal> journal_;
  std::unique_ptr<checker::Journal> feature_journal_;
  std::optional<checker::Workload> load_;
  std::optional<Moment> moment_;
};

}  // namespace varve::demo
