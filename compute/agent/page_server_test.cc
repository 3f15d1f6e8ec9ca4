// What is asked of storage, and what becomes of answers that are not what was asked for.
#include "compute/agent/page_server.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/codec.h"
#include "base/crc32c.h"
#include "sim/world.h"

namespace varve::compute {
namespace {

using Served = Result<std::vector<ServedPage>>;

const PageKey kPage = wal::BlockId{{1663, 5, 16384}, wal::Fork::kMain, 7};
const PageKey kNeighbour = wal::BlockId{{1663, 5, 16384}, wal::Fork::kMain, 8};
constexpr WonTerm kWon{Term(9), Lsn(0x2000000)};
constexpr Lsn kFirst{0x2000078};
constexpr Lsn kCommitted{0x2004000};

ServedPage page_of_lsn(const PageKey& key, Lsn lsn) {
  std::vector<uint8_t> bytes(kBlockSize, 0x5A);
  store_le<uint32_t>(bytes.data(), static_cast<uint32_t>(lsn.value >> 32));
  store_le<uint32_t>(bytes.data() + 4, static_cast<uint32_t>(lsn.value));
  return {key, Bytes::copy(bytes), crc32c(bytes)};
}

class Pages : public PageService {
 public:
  Result<Manifest> manifest(Lsn) override { return Status(Code::kUnsupported, "not here"); }
  Served pages(const PageQuery& query) override {
    last = query;
    return ++asked == 1 ? first(query) : Served({page_of_lsn(query.keys[0], kWon.start)});
  }
  std::function<Served(const PageQuery&)> first;  // the first answer; later ones are right
  PageQuery last;
  int asked = 0;
};

class Log : public LogService {
 public:
  Result<WonTerm> elect() override { return kWon; }
  Status append(Bytes) override { return Status(); }
  CommitPosition committed() const override { return position; }
  Result<CommitPosition> wait_beyond(Lsn) override { return position; }
  void announce() override {}
  Instant confirmed() const override { return Instant(); }
  Lsn ingested() const override { return Lsn(); }
  Result<Bytes> read(LsnRange) override { return Bytes(); }
  Status wait_closed() override { return Status(); }
  void stop(Status) override {}
  CommitPosition position{kWon.term, kCommitted};
};

struct Outcome {
  Result<std::vector<Bytes>> pages = Status(Code::kInternal, "not asked");
  PageQuery query;
  int asked = 0;
  uint64_t wrong = 0;
};

Outcome fetch(std::function<Served(const PageQuery&)> first, PageFaults faults = {},
              CommitPosition position = {kWon.term, kCommitted}) {
  Outcome outcome;
  bool done = false;
  sim::Simulation sim(1);
  sim.start(sim.add_node("compute", [&](World& world) {
    Pages pages;
    pages.first = first;
    Log log;
    log.position = position;
    const AgentOptions options;
    PageServer server(pages, log, world.random, world.log, options, kWon, kFirst, faults);
    outcome.pages = server.fetch({kPage});
    outcome.query = pages.last;
    outcome.asked = pages.asked;
    outcome.wrong = server.statistics().wrong_answers;
    done = true;
  }));
  EXPECT_TRUE(sim.run_until([&] { return done; }, Duration::seconds(60)));
  return outcome;
}

TEST(PageServer, AsksAtItsOwnCommitPositionInItsOwnTerm) {
  const auto good = [](const PageQuery& query) -> Served {
    return std::vector<ServedPage>{page_of_lsn(kPage, query.at)};
  };
  const Outcome outcome = fetch(good);
  ASSERT_TRUE(outcome.pages.ok()) << outcome.pages.status().to_string();
  EXPECT_EQ(outcome.query.at, kCommitted);
  EXPECT_EQ(outcome.query.not_modified_since, kWon.start);
  EXPECT_EQ(outcome.query.term, kWon.term);
  EXPECT_EQ(outcome.asked, 1);
  // Before the quorum has told anything of this term, and when it tells of another.
  EXPECT_EQ(fetch(good, {}, {kWon.term, Lsn()}).query.at, kFirst);
  EXPECT_EQ(fetch(good, {}, {Term(10), Lsn(0x9000000)}).query.at, kFirst);
}

TEST(PageServer, AnswersThatDoNotProveThemselvesAreAskedForAgain) {
  const std::pair<const char*, std::function<ServedPage()>> wrongs[] = {
      {"another block", [] { return page_of_lsn(kNeighbour, kWon.start); }},
      {"one bit",
       [] {
         ServedPage page = page_of_lsn(kPage, kWon.start);
         std::vector<uint8_t> bytes(page.page.span().begin(), page.page.span().end());
         bytes[4000] ^= 1;
         page.page = Bytes::copy(bytes);
         return page;
       }},
      {"half a page",
       [] {
         ServedPage page = page_of_lsn(kPage, kWon.start);
         page.page = page.page.slice(0, kBlockSize / 2);
         page.crc = crc32c(page.page.span());
         return page;
       }},
  };
  for (const auto& [what, wrong] : wrongs) {
    SCOPED_TRACE(what);
    const auto answer = [&wrong = wrong](const PageQuery&) -> Served {
      return std::vector<ServedPage>{wrong()};
    };
    const Outcome outcome = fetch(answer);
    ASSERT_TRUE(outcome.pages.ok()) << outcome.pages.status().to_string();
    EXPECT_EQ(outcome.asked, 2);
    EXPECT_EQ(outcome.wrong, 1u);
    const Bytes right = page_of_lsn(kPage, kWon.start).page;
    EXPECT_TRUE(std::ranges::equal((*outcome.pages)[0].span(), right.span()));
    // Without the checks Postgres would get it.
    EXPECT_EQ(fetch(answer, {.trust_answers = true}).asked, 1);
  }
  const auto none = [](const PageQuery&) -> Served { return std::vector<ServedPage>(); };
  EXPECT_EQ(fetch(none).asked, 2);
}

// Asking again would bring the same: somebody else's history.
TEST(PageServer, APageFromTheFutureIsLost) {
  const auto future = [](const PageQuery& query) -> Served {
    return std::vector<ServedPage>{page_of_lsn(kPage, query.at + 8)};
  };
  const Outcome outcome = fetch(future);
  EXPECT_TRUE(outcome.pages.is(Code::kCorrupt)) << outcome.pages.status().to_string();
  EXPECT_EQ(outcome.asked, 1);
  EXPECT_TRUE(fetch(future, {.trust_answers = true}).pages.ok());
}

TEST(PageServer, ATermThatIsOverIsNotAskedAgain) {
  const Outcome outcome =
      fetch([](const PageQuery&) -> Served { return Status(Code::kStale, "a newer term asked"); });
  EXPECT_TRUE(outcome.pages.is(Code::kStale));
  EXPECT_EQ(outcome.asked, 1);
}

}  // namespace
}  // namespace varve::compute
