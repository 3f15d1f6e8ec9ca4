// varve_oracle: proves native redo against the pages that a stock Postgres put into its own log.
//
//   varve_oracle [--report N] [--minimum N] [--checksums] [--some-types] [--sample FILE] DATA...
//
// Each DATA is a data directory after a clean shutdown whose WAL was written with
// wal_consistency_checking=all (see tests/oracle/make_wal.sh), or a directory of WAL segments
// alone. Prints one JSON object a line for each. Exit code 0 when every comparison agreed, nothing
// expected was missing and there were at least --minimum comparisons in all; 1 when not; 2 for
// wrong usage. --checksums: the cluster has data checksums (known from pg_control unless DATA is
// segments alone). --some-types: the corpus need not show every type. --sample: writes cases for
// tests, see sampler.h.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tools/oracle/checker.h"
#include "tools/oracle/corpus.h"
#include "tools/oracle/end_state.h"
#include "tools/oracle/record_types.h"
#include "wal/control_file.h"

namespace varve::oracle {
namespace {

struct Arguments {
  uint32_t report = 20;
  uint64_t minimum = 0;
  bool checksums = false;
  bool expect_all = true;
  std::string sample;
  std::vector<std::string> corpora;
};

struct Outcome {
  bool good = true;
  uint64_t comparisons = 0;
};

std::string json(const std::map<std::string, uint64_t>& counts) {
  std::string text;
  for (const auto& [name, n] : counts) {
    text += fmt::format("{}\"{}\": {}", text.empty() ? "" : ", ", name, n);
  }
  return "{" + text + "}";
}

// Version 15's; a file that can't be read will show in the comparison of LSNs.
bool has_checksums(const std::string& data_directory) {
  std::ifstream file(data_directory + "/global/pg_control", std::ios::binary);
  std::vector<uint8_t> bytes(wal::kControlFileSize);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  const auto control = wal::parse_control_file(*wal::version_of_major(15), bytes);
  return control.ok() && control->data_checksum_version != 0;
}

Outcome check(const std::string& corpus, const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  const bool has_data = std::filesystem::exists(corpus + "/pg_wal");
  const bool checksums = has_data ? has_checksums(corpus) : arguments.checksums;
  Checker checker(checksums, arguments.report);
  Sampler sampler;
  const wal::Version* version = nullptr;
  if (!arguments.sample.empty()) checker.sample_to(&sampler);
  Status status = read_log(has_data ? corpus + "/pg_wal" : corpus,
                           [&](const wal::Version& v, const wal::Record& record) {
                             version = &v;
                             return checker.take(v, record);
                           });
  if (!status.ok() || version == nullptr) {
    fmt::print(stderr, "{}: {}\n", corpus, status.to_string());
    return {false, 0};
  }
  checker.finish();
  if (!arguments.sample.empty()) status = sampler.write(arguments.sample);
  if (!status.ok()) fmt::print(stderr, "{}\n", status.to_string());
  EndState end;
  EndState slru;
  if (has_data) {
    end = compare_end_state(corpus, checker.cluster().pages, arguments.report);
    slru = compare_slru(corpus, checker.cluster().slru, arguments.report);
  }

  const Counts& counts = checker.counts();
  std::vector<std::string> missing;
  const std::vector<std::string> expected = expected_types(*version);
  for (const std::string& type : expected) {
    // A record that is only an image can't be compared with itself; being restored is all it can
    // be.
    const auto& seen = type.starts_with("XLOG/") ? counts.restored : counts.types;
    if (!seen.contains(type)) missing.push_back("\"" + type + "\"");
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print(
      "{{\"corpus\": \"{}\", \"records\": {}, \"comparisons\": {}, \"mismatches\": {}, "
      "\"skipped\": {}, "
      "\"types_seen\": {}, \"types_expected\": {}, \"missing\": [{}], \"vm_pages_equal\": {}, "
      "\"vm_pages_different_unexplained\": {}, \"vm_pages_ahead\": {}, \"vm_longest_ahead\": {}, "
      "\"slru_equal\": {}, \"slru_different\": {}, \"end_state_equal\": {}, "
      "\"end_state_different_unexplained\": {}, \"end_state_skipped\": {}, \"lsn_chain_equal\": "
      "{}, "
      "\"lsn_chain_different\": {}, \"delta_bytes\": {}, \"seconds\": {:.2f}, \"compared\": {}}}\n",
      corpus, counts.records, counts.comparisons, counts.mismatches, json(counts.skipped),
      expected.size() - missing.size(), expected.size(), fmt::join(missing, ", "),
      counts.vm_pages_equal, counts.vm_pages_different, counts.vm_pages_ahead, counts.longest_ahead,
      slru.equal, slru.different, end.equal, end.different, json(end.skipped), counts.chain_equal,
      counts.chain_different, counts.delta_bytes, seconds, json(counts.types));
  const bool good = status.ok() && counts.mismatches == 0 && counts.vm_pages_different == 0 &&
                    counts.chain_different == 0 && end.different == 0 && slru.different == 0 &&
                    (missing.empty() || !arguments.expect_all);
  return {good, counts.comparisons};
}

int usage() {
  fmt::print(stderr,
             "usage: varve_oracle [--report N] [--minimum N] [--checksums] [--some-types] "
             "[--sample FILE] DATA...\n");
  return 2;
}

int run(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--checksums") {
      arguments.checksums = true;
    } else if (word == "--some-types") {
      arguments.expect_all = false;
    } else if (word == "--sample" && i + 1 < argc) {
      arguments.sample = argv[++i];
    } else if ((word == "--report" || word == "--minimum") && i + 1 < argc) {
      const uint64_t n = std::strtoull(argv[++i], nullptr, 10);
      (word == "--report" ? arguments.report = static_cast<uint32_t>(n) : arguments.minimum = n);
    } else if (word.starts_with("-")) {
      return usage();
    } else {
      arguments.corpora.emplace_back(word);
    }
  }
  if (arguments.corpora.empty()) return usage();
  bool good = true;
  uint64_t comparisons = 0;
  for (const std::string& corpus : arguments.corpora) {
    const Outcome outcome = check(corpus, arguments);
    good = good && outcome.good;
    comparisons += outcome.comparisons;
  }
  if (comparisons < arguments.minimum) {
    fmt::print(stderr, "only {} comparisons, {} were asked for\n", comparisons, arguments.minimum);
    good = false;
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace varve::oracle

int main(int argc, char** argv) {
  return varve::oracle::run(argc, argv);
}
