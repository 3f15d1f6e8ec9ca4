// Tells the story: what is done, how long it took, what came of it.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/status.h"

namespace varve::demo {

class Narrator {
 public:
  Narrator() : begun_(std::chrono::steady_clock::now()) {}

  void chapter(const std::string& title);
  // Tells of `work` when it is done: its title, its time, and what it says itself. Of an error,
  // too.
  Status step(const std::string& title, const std::function<Result<std::string>()>& work);
  void remark(const std::string& text);
  double seconds() const;

 private:
  const std::chrono::steady_clock::time_point begun_;
};

}  // namespace varve::demo
