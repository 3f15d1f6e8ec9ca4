// The worlds that the suite runs over.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/object_store.h"
#include "runtime/world.h"

namespace varve::contract {

struct WorldKind {
  std::string name;
  bool simulated = false;
  bool uring = false;
  bool held = false;
  bool delayed = false;  // over the seeded table
  bool small = false;    // simulated: everything in small pieces and in drawn order
  bool model = false;    // objects: the simulator's model instead of a directory
};

std::vector<WorldKind> all_worlds();
// The same, and the models of the simulator.
std::vector<WorldKind> all_object_worlds();
void PrintTo(const WorldKind& kind, std::ostream* out);

// An empty directory that goes at the end.
class TemporaryDirectory {
 public:
  // In memory when `fast`: for tests that sync thousands of times.
  explicit TemporaryDirectory(bool fast = false);
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Runs `body` as the first fiber of a fresh world of that kind, in a delayed one once for each of
// several seeds. The body reports through gtest; it must not leave fibers behind.
void in_world(const WorldKind& kind, const std::function<void(World&)>& body);
// The same with an object store of that kind, empty.
void in_object_world(const WorldKind& kind, const std::function<void(ObjectStore&)>& body);

// Set by main() from flags or the environment.
struct ProgramSettings {
  uint64_t first_seed = 1;
  uint64_t seeds = 300;
};
ProgramSettings& program_settings();

// Expects success and says what was wrong otherwise.
::testing::AssertionResult succeeded(const Status& status);
template <class T>
::testing::AssertionResult succeeded(const Result<T>& result) {
  return succeeded(result.status());
}

#define EXPECT_SUCCESS(expression) EXPECT_TRUE(::varve::contract::succeeded(expression))
#define ASSERT_SUCCESS(expression) ASSERT_TRUE(::varve::contract::succeeded(expression))

// `size` bytes that tell their place apart.
Bytes pattern(size_t size, uint64_t seed);

}  // namespace varve::contract
