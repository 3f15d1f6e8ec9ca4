// Fuzz target: any bytes as a page delta, on the page of a recorded case that its first byte picks.
//
// Finds: accesses outside of page and delta, endless loops, and pages that Postgres would not read.
// Seeds are the recorded deltas themselves: `fuzz_redo -write_seeds=DIRECTORY` writes them.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "base/check.h"
#include "wal/redo/page.h"
#include "wal/redo/redo.h"
#include "wal/redo/testing/recorded_cases.h"

namespace varve::wal::redo {
namespace {

void write_seeds(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  for (size_t i = 0; i < recorded_cases().size() && i < 256; ++i) {
    const RecordedCase& one = *recorded_cases()[i];
    const auto delta = split(one.record, one.block(), {});
    VARVE_CHECK(delta.ok() && *delta);
    std::ofstream file(directory / std::to_string(i), std::ios::binary);
    file.put(static_cast<char>(i));
    file.write(reinterpret_cast<const char*>((*delta)->data()),
               static_cast<std::streamsize>((*delta)->size()));
  }
}

}  // namespace
}  // namespace varve::wal::redo

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr std::string_view kWrite = "-write_seeds=";
  for (int i = 1; i < *argc; ++i) {
    const std::string_view word = (*argv)[i];
    if (!word.starts_with(kWrite)) continue;
    varve::wal::redo::write_seeds(word.substr(kWrite.size()));
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve::wal::redo;
  if (size == 0 || recorded_cases().empty()) return 0;
  const RecordedCase& one = *recorded_cases()[data[0] % recorded_cases().size()];
  auto page = one.before;
  const varve::Status status =
      apply(one.block().block, page, one.record.end, std::span<const uint8_t>(data + 1, size - 1));
  VARVE_CHECK(!status.ok() || Page(page).sane());
  return 0;
}
