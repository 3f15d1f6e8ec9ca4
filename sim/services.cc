#include <map>

#include "sim/node.h"

namespace varve::sim {
namespace {

std::string label_of(const Life& life, std::string_view purpose) {
  return life.name + "/" + std::to_string(life.number) + "/" + std::string(purpose);
}

class DrawnOrder : public SchedulePolicy {
 public:
  explicit DrawnOrder(Life& life)
      : life_(life), random_(life.engine.seed(), label_of(life, "order")) {}
  size_t pick(size_t ready) override {
    return life_.engine.plan.random_order ? random_.below(ready) : 0;
  }

 private:
  Life& life_;
  RandomStream random_;
};

// A stream per purpose, so that a new draw in one place of a component shifts nothing elsewhere.
class LifeRandom : public Random {
 public:
  explicit LifeRandom(Life& life) : life_(life) {}

  uint64_t below(uint64_t bound, std::string_view label) override {
    return stream(label).below(bound);
  }
  std::array<uint8_t, 16> unique_bytes(std::string_view label) override {
    RandomStream& random = stream(label);
    uint64_t halves[2];
    for (uint64_t& half : halves) half = random.next();
    std::array<uint8_t, 16> bytes;
    std::memcpy(bytes.data(), halves, sizeof halves);
    return bytes;
  }

 private:
  RandomStream& stream(std::string_view label) {
    const auto found = streams_.find(label);
    if (found != streams_.end()) return found->second;
    const RandomStream fresh(life_.engine.seed(), label_of(life_, label));
    return streams_.emplace(std::string(label), fresh).first->second;
  }
  Life& life_;
  std::map<std::string, RandomStream, std::less<>> streams_;
};

// Suspends for a drawn time and runs the work at hand-over or at completion. The work writes its
// result through the caller's frame, which stays, since run() can't be left early.
class LifeOffload : public Offload {
 public:
  explicit LifeOffload(Life& life)
      : life_(life), random_(life.engine.seed(), label_of(life, "offload")) {}

  void run(std::function<void()> work) override {
    Shield shield;
    const uint64_t when = random_.below(3);  // at hand-over, at completion, at both
    const Duration takes = Duration::nanos(static_cast<int64_t>(random_.between(1000, 3000000)));
    auto completion = std::make_shared<Completion>();
    if (when != 1) {
      auto early = work;  // pure work owns its inputs, so a copy must do as well
      early();
    }
    life_.engine.after(takes, &life_, [this, completion, when, work = std::move(work)] {
      if (when != 0) work();
      life_.engine.record(&life_, EventKind::kOffload, when);
      completion->complete(life_);
    });
    const Status done = completion->wait(life_, "offloaded work");
    VARVE_CHECK_MSG(done.ok(), "offloaded work can't be left early");
  }

 private:
  Life& life_;
  RandomStream random_;
};

}  // namespace

std::unique_ptr<SchedulePolicy> make_policy(Life& life) {
  return std::make_unique<DrawnOrder>(life);
}
std::unique_ptr<Random> make_random(Life& life) {
  return std::make_unique<LifeRandom>(life);
}
std::unique_ptr<Offload> make_offload(Life& life) {
  return std::make_unique<LifeOffload>(life);
}

}  // namespace varve::sim
