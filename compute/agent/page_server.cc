#include "compute/agent/page_server.h"

#include <algorithm>
#include <variant>

#include "base/codec.h"
#include "base/crc32c.h"

namespace varve::compute {
namespace {

// Pages that one question to storage may name: what the shim's answer holds.
constexpr uint32_t kMostPages = 16;

bool is_lost(Code code) {
  return code == Code::kCorrupt || code == Code::kUnsupported || code == Code::kNotFound ||
         code == Code::kBelowCutoff || code == Code::kInvalid || code == Code::kRefused;
}

// The first eight bytes of a relation's page, as Postgres keeps an LSN.
Lsn page_lsn(const Bytes& page) {
  return Lsn(uint64_t{load_le<uint32_t>(page.data())} << 32 | load_le<uint32_t>(page.data() + 4));
}

}  // namespace

PageServer::PageServer(PageService& service, LogService& log, Random& random, Log& events,
                       const AgentOptions& options, WonTerm won, Lsn first_commit,
                       PageFaults faults)
    : service_(service),
      log_(log),
      random_(random),
      events_(events),
      options_(options),
      won_(won),
      first_commit_(first_commit),
      faults_(faults),
      slots_(options.pages_in_flight) {}

Lsn PageServer::position() const {
  if (faults_.ask_newest) return Lsn::max();
  const CommitPosition committed = log_.committed();
  return committed.term == won_.term ? std::max(committed.lsn, first_commit_) : first_commit_;
}

Status PageServer::check(const PageQuery& query, const std::vector<ServedPage>& served) {
  if (faults_.trust_answers) return Status();
  if (served.size() != query.keys.size())
    return Status(Code::kUnavailable, "storage answered another number of pages");
  for (size_t i = 0; i < served.size(); ++i) {
    const ServedPage& page = served[i];
    if (page.key != query.keys[i]) {
      return Status(Code::kUnavailable, "storage answered " + page_key_text(page.key) +
                                            " instead of " + page_key_text(query.keys[i]));
    }
    if (page.page.size() != kBlockSize || crc32c(page.page.span()) != page.crc) {
      return Status(Code::kUnavailable,
                    "the answer for " + page_key_text(page.key) + " fails its checksum");
    }
    if (std::holds_alternative<wal::BlockId>(page.key) && page_lsn(page.page) > query.at) {
      return Status(Code::kCorrupt, page_key_text(page.key) + " is of " +
                                        page_lsn(page.page).to_string() +
                                        ", later than it was asked for")
          .with_lsn(query.at);
    }
  }
  return Status();
}

Result<std::vector<Bytes>> PageServer::ask(const PageQuery& query) {
  const DeadlineGuard attempt(options_.page_attempt);
  VARVE_TRY_ASSIGN(std::vector<ServedPage> served, service_.pages(query));
  const Status sound = check(query, served);
  if (!sound.ok()) {
    ++statistics_.wrong_answers;
    events_.warning("page_answer_wrong", "storage's answer is not what was asked for",
                    {{"why", sound}});
    return sound;
  }
  std::vector<Bytes> pages;
  for (ServedPage& page : served) pages.push_back(std::move(page.page));
  return pages;
}

Result<std::vector<Bytes>> PageServer::fetch(const std::vector<PageKey>& keys) {
  Backoff backoff;
  const Instant patience = now() + options_.page_patience;
  for (;;) {
    auto pages = ask({keys, position(), won_.start, won_.term});
    if (pages.ok() || pages.is(Code::kStale) || is_lost(pages.code())) return pages;
    // The attempt's own deadline looks like ours; ours is looked at here.
    VARVE_TRY(check_cancelled());
    ++statistics_.retries;
    backoff.failed(now(), random_.below(uint64_t{1} << 63, "page retry") << 1);
    if (backoff.next_attempt() >= patience)
      return pages.status().with_context("asked for " + std::to_string(backoff.failures()) +
                                         " times");
    VARVE_TRY(sleep_for(backoff.wait(now())));
  }
}

void PageServer::answer(PostgresLife& life, const StartPlan& plan,
                        const PostgresPageWanted& wanted) {
  std::vector<PageKey> keys;
  for (uint32_t i = 0; i < std::min(wanted.blocks, kMostPages); ++i)
    keys.push_back(page_of(plan, wanted.file, wanted.first + i));
  const Lsn at = position();
  auto pages = fetch(keys);
  // A page behind the one that somebody waits for may be the one that is lost.
  if (!pages.ok() && is_lost(pages.code()) && keys.size() > 1) {
    keys.resize(1);
    pages = fetch(keys);
  }
  if (pages.ok()) {
    statistics_.pages += pages->size();
    life.answer_page({wanted.request, PostgresPageFate::kHere, std::move(*pages), at});
    return;
  }
  if (pages.is(Code::kStale) && stale_.ok()) {
    stale_ = pages.status();
    questions_->cancel();
  }
  if (!is_lost(pages.code())) {
    life.answer_page({wanted.request, PostgresPageFate::kRetry, {}, at});
    return;
  }
  ++statistics_.lost;
  events_.error("page_lost", "a page can't be rebuilt: its reader gets an I/O error",
                {{"page", page_key_text(keys[0])}, {"why", pages.status()}});
  life.answer_page({wanted.request, PostgresPageFate::kLost, {}, at});
}

Status PageServer::serve(PostgresLife& life, const StartPlan& plan, Scope& scope) {
  Scope questions("page questions", scope);
  questions_ = &questions;
  Status ended;
  for (;;) {
    auto wanted = life.next_page();
    ended = wanted.status();
    if (ended.ok() && wanted->prefetch && slots_.available() == 0) {
      // Nobody waits for it, and whoever does wait must not stand behind it.
      life.answer_page({wanted->request, PostgresPageFate::kRetry, {}, Lsn()});
      continue;
    }
    if (ended.ok()) ended = slots_.acquire(1, "a question to storage");
    if (!stale_.ok()) ended = stale_;
    if (!ended.ok()) break;
    questions.spawn("pages from storage", [this, &life, &plan, w = *wanted] {
      answer(life, plan, w);
      slots_.release();
    });
  }
  questions.cancel();
  questions.join().ignore("only void fibers");
  questions_ = nullptr;
  return stale_.ok() ? ended : stale_;
}

}  // namespace varve::compute
