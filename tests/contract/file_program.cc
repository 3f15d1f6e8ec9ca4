// Operations on two files against what they must hold.
#include <gtest/gtest.h>

#include "tests/contract/programs.h"
#include "tests/contract/worlds.h"

namespace varve::contract {
namespace {

// EIO is Unavailable, ENOSPC and EMFILE are Full.
bool is_failure(const Status& status) {
  return status.is(Code::kUnavailable) || status.is(Code::kFull);
}

class FileProgram {
 public:
  FileProgram(World& world, std::string path, RandomStream random, ProgramRules rules)
      : world_(world), path_(std::move(path)), random_(random), rules_(rules) {}

  Status run(int steps) {
    VARVE_TRY(reopen());
    for (int i = 0; i < steps && file_ != nullptr; ++i) VARVE_TRY(step());
    if (file_ == nullptr) return Status();  // abandoned
    return check_all();
  }

 private:
  // Success and expected failures go on; anything else ends the program.
  bool failed(const Status& status) {
    if (status.ok()) return false;
    EXPECT_TRUE(rules_.failures && is_failure(status)) << status.to_string();
    return true;
  }

  Status reopen() {
    file_.reset();
    for (int i = 0; i < 100; ++i) {
      auto file = world_.disk.open(path_, OpenMode::kCreate);
      if (file.ok()) {
        file_ = std::move(*file);
        return Status();
      }
      if (!rules_.failures) return file.status();
      EXPECT_TRUE(is_failure(file.status())) << file.status().to_string();
    }
    return Status(Code::kInternal, "a file that never opens");
  }

  Bytes random_pattern(uint64_t limit) {
    const uint64_t length = random_.between(1, limit);
    return pattern(length, random_.next());
  }

  Status step() {
    const uint64_t kind = random_.below(12);
    if (kind < 4) return write(false);
    if (kind < 5) return write(true);
    if (kind < 8) return read();
    if (kind == 8) return truncate();
    if (kind == 9) return punch();
    if (kind == 10) {
      (void)failed(file_->sync());
      return Status();
    }
    return random_.chance(500000) ? reopen() : abandon();
  }

  Status write(bool durable) {
    const uint64_t offset = random_.below(60000);
    const uint64_t length = random_.below(20000);
    std::vector<Bytes> pieces;
    const Bytes data = pattern(length, random_.next());
    for (size_t at = 0; at < data.size();) {
      const size_t size = std::min<size_t>(data.size() - at, random_.between(1, 6000));
      pieces.push_back(data.slice(at, size));
      at += size;
    }
    const Status status = durable ? file_->write_durable(offset, std::move(pieces))
                                  : file_->write(offset, std::move(pieces));
    const std::string old = content_;
    if (length != 0) {
      content_.resize(std::max<size_t>(content_.size(), offset + length), '\0');
      content_.replace(offset, length, data.view());
    }
    return failed(status) ? settle(old) : Status();
  }

  Status truncate() {
    const uint64_t size = random_.below(80000);
    const Status status = file_->truncate(size);
    const std::string old = content_;
    content_.resize(size, '\0');
    if (!failed(status)) return Status();
    content_ = old;  // refused before it began
    return Status();
  }

  Status punch() {
    const uint64_t offset = random_.below(80000);
    const uint64_t length = random_.below(30000);
    const Status status = file_->punch(offset, length);
    const std::string old = content_;
    for (uint64_t i = offset; i < std::min<uint64_t>(content_.size(), offset + length); ++i)
      content_[i] = '\0';
    return failed(status) ? settle(old) : Status();
  }

  // After a failure each byte is the old or the new one, and the size lies between both. Learns
  // which.
  Status settle(const std::string& old) {
    VARVE_TRY_ASSIGN(const uint64_t size, file_->size());
    EXPECT_GE(size, std::min(old.size(), content_.size()));
    EXPECT_LE(size, std::max(old.size(), content_.size()));
    for (int attempt = 0; attempt < 1000; ++attempt) {
      auto found = file_->read_at(0, size);
      if (failed(found.status())) continue;
      std::string now(found->view());
      EXPECT_EQ(now.size(), size);
      for (size_t i = 0; i < now.size(); ++i) {
        const char before = i < old.size() ? old[i] : '\0';
        const char after = i < content_.size() ? content_[i] : '\0';
        if (now[i] == before || now[i] == after) continue;
        ADD_FAILURE() << "byte " << i << " is neither old nor new";
        break;
      }
      content_ = std::move(now);
      return Status();
    }
    return Status(Code::kInternal, "a file that can never be read");
  }

  Status read() {
    std::vector<ReadOperation> operations;
    const uint64_t count = random_.between(1, 12);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t offset = random_.below(80000);
      operations.push_back({offset, random_.below(16000)});
    }
    auto pieces = file_->read(operations);
    if (failed(pieces.status())) return Status();
    for (size_t i = 0; i < operations.size(); ++i) {
      std::string_view expected = content_;
      expected = operations[i].offset < expected.size()
                     ? expected.substr(operations[i].offset, operations[i].length)
                     : std::string_view();
      EXPECT_TRUE((*pieces)[i].view() == expected)
          << "read " << i << " at " << operations[i].offset;
    }
    return Status();
  }

  // Leaves a write in its middle. If it was left, the file refuses all others, and the program
  // ends.
  Status abandon() {
    Scope scope("abandoned");
    Status outcome;
    const uint64_t offset = random_.below(1000);
    const Bytes data = random_pattern(200000);
    scope.spawn("writer", [&] { outcome = file_->write(offset, {data}); });
    const uint64_t wait = random_.below(3);
    if (wait == 1) VARVE_TRY(yield());
    if (wait == 2) VARVE_TRY(sleep_for(Duration::micros(static_cast<int64_t>(random_.below(100)))));
    scope.cancel();
    (void)scope.join();
    const std::string old = content_;
    content_.resize(std::max<size_t>(content_.size(), offset + data.size()), '\0');
    content_.replace(offset, data.size(), data.view());
    if (outcome.ok()) return Status();
    if (!outcome.is(Code::kCancelled)) return failed(outcome) ? settle(old) : Status();
    EXPECT_EQ(file_->write(0, {data}).code(), Code::kRefused);
    file_.reset();
    return Status();
  }

  Status check_all() {
    EXPECT_EQ(*file_->size(), content_.size());
    for (int attempt = 0; attempt < 1000; ++attempt) {
      auto found = file_->read_at(0, content_.size() + 1);
      if (failed(found.status())) continue;
      EXPECT_TRUE(found->view() == content_) << "final content";
      return Status();
    }
    return Status(Code::kInternal, "a file that can never be read");
  }

  World& world_;
  std::string path_;
  RandomStream random_;
  ProgramRules rules_;
  std::unique_ptr<File> file_;
  std::string content_;
};

}  // namespace

void run_file_program(World& world, const std::string& directory, RandomStream random,
                      ProgramRules rules) {
  Scope scope("file programs");
  for (const char* name : {"a", "b"}) {
    scope.spawn("file program",
                [&world, name, &directory, program_random = random.fork(name), rules] {
                  FileProgram program(world, directory + name, program_random, rules);
                  return program.run(10);
                });
  }
  EXPECT_SUCCESS(scope.join());
}

}  // namespace varve::contract
