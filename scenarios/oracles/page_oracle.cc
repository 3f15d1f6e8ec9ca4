#include "scenarios/oracles/page_oracle.h"

#include <algorithm>

#include "storage/key.h"

namespace varve::scenarios {
namespace {

using storage::FetchedPage;
using storage::Key;
using storage::testing::ModelCluster;
using storage::testing::Page;
using storage::testing::PageRef;

Key key_of(const PageQuestion& question, uint32_t ahead) {
  const uint32_t number = question.first + ahead;
  if (question.status_file) return Key::slru_block({wal::Slru::kClog, number});
  return Key::block({question.relation, wal::Fork::kMain, number});
}

// Nothing: there is no such page then.
struct Expected {
  PageRef page;
  bool beyond_end = false;
};
std::optional<Expected> expected(const ModelCluster& model, const PageQuestion& question,
                                 uint32_t number, Lsn lsn) {
  if (question.status_file) {
    PageRef page = model.clog(number, lsn);
    if (page == nullptr) return std::nullopt;
    return Expected{std::move(page), false};
  }
  const std::optional<uint32_t> size = model.size({question.relation, wal::Fork::kMain}, lsn);
  if (!size) return std::nullopt;
  if (number >= *size) return Expected{nullptr, true};
  return Expected{model.page({question.relation, wal::Fork::kMain, number}, lsn), false};
}

// "Not there" tells no LSN: right if it was so anywhere between what was asked for and the end.
bool ever_absent(const ModelCluster& model, const PageQuestion& question, uint32_t number) {
  const Lsn last = std::min(question.request, model.end());
  if (!expected(model, question, number, question.not_modified_since)) return true;
  for (const Lsn end : model.ends()) {
    if (end <= question.not_modified_since || end > last) continue;
    if (!expected(model, question, number, end)) return true;
  }
  return false;
}

std::optional<std::string> judge_page(const ModelCluster& model, const PageQuestion& question,
                                      uint32_t number, const FetchedPage& page) {
  if (page.lsn < question.not_modified_since || page.lsn > question.request) {
    return "is as of " + page.lsn.to_string() + ", outside of what was asked for";
  }
  const std::optional<Expected> wanted = expected(model, question, number, page.lsn);
  if (!wanted) return "was served, but does not exist";
  if (page.beyond_end != wanted->beyond_end) {
    return wanted->beyond_end ? "lies beyond the end, and has bytes"
                              : "is said to be beyond the end";
  }
  if (!page.beyond_end && !std::ranges::equal(page.page.span(), *wanted->page)) {
    return "has other bytes";
  }
  return std::nullopt;
}

}  // namespace

storage::PageRunRequest PageQuestion::run() const {
  return {key_of(*this, 0).bytes, count, request, not_modified_since};
}

PageVerdict judge_pages(const ModelCluster& model, const PageQuestion& question,
                        const std::vector<Result<FetchedPage>>& pages) {
  PageVerdict verdict;
  verdict.complete = true;
  const auto contradicts = [&](uint32_t ahead, const std::string& what) {
    verdict.contradiction = key_of(question, ahead).to_string() + ", asked for at " +
                            question.request.to_string() + ", unmodified since " +
                            question.not_modified_since.to_string() + ": " + what;
    return verdict;
  };
  if (pages.size() != question.count) return contradicts(0, "another number of pages");
  for (uint32_t i = 0; i < question.count; ++i) {
    const Result<FetchedPage>& page = pages[i];
    if (page.is(Code::kUnavailable) || page.is(Code::kDeadlineExceeded) ||
        page.is(Code::kCancelled)) {
      verdict.complete = false;
      continue;
    }
    if (page.is(Code::kNotFound)) {
      if (ever_absent(model, question, question.first + i)) continue;
      return contradicts(i, "exists, and the answer is " + page.status().to_string());
    }
    if (!page.ok()) return contradicts(i, page.status().to_string());
    if (auto wrong = judge_page(model, question, question.first + i, *page)) {
      return contradicts(i, *wrong + " (as of " + page->lsn.to_string() + ")");
    }
    ++verdict.compared;
  }
  return verdict;
}

}  // namespace varve::scenarios
