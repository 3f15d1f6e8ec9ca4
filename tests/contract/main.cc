#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/contract/worlds.h"

// contract_test [--seeds N] [--first-seed S] [--backend threads|uring] [gtest's flags]
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  auto& settings = varve::contract::program_settings();
  if (const char* seeds = std::getenv("CONTRACT_SEEDS"))
    settings.seeds = std::strtoull(seeds, nullptr, 10);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view flag = argv[i];
    if (flag == "--seeds") {
      settings.seeds = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (flag == "--first-seed") {
      settings.first_seed = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (flag == "--backend") {
      testing::GTEST_FLAG(filter) = std::string("*Programs.*/") + argv[i + 1];
    } else {
      std::fprintf(stderr, "unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
