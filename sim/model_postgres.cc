#include "sim/model_postgres.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/codec.h"
#include "wal/control_file.h"
#include "wal/decoder.h"
#include "wal/extent.h"

namespace varve::sim {
namespace {

constexpr size_t kPageHeader = 24;
constexpr size_t kContent = 16;  // counter and last xid
constexpr uint8_t kFullPageImage = 0xB0;
constexpr uint8_t kNextOid = 0x30;

class Life : public PostgresLife {
 public:
  Life(PostgresPlan plan, const ModelPostgresOptions& options, uint64_t seed, Scope& parent,
       ModelPostgresObserver& observer)
      : plan_(std::move(plan)),
        options_(options),
        random_(seed, "model postgres"),
        observer_(observer),
        scope_("postgres", parent) {}

  ~Life() override { Life::stop(PostgresStop::kKill).ignore("always succeeds"); }

  // What Postgres does before it is up: pg_control, the record it names, the pages around it.
  Status boot() {
    const wal::Version* version = wal::version_of_major(plan_.major);
    if (version == nullptr) return Status(Code::kUnsupported, "no such Postgres");
    VARVE_TRY_ASSIGN(const wal::ControlFile control,
                     wal::parse_control_file(*version, plan_.control_file.content.span()));
    if (control.state != wal::ClusterState::kShutDown)
      return Status(Code::kInvalid, "pg_control wants recovery");
    identity_ = control.identity(*version);
    checkpoint_ = control.checkpoint;
    VARVE_TRY(read_segments(control.checkpoint_record));
    wal::Decoder decoder({.identity = identity_});
    decoder.reset(wal::to_end_form(control.checkpoint_record, identity_.segment_size),
                  std::nullopt);
    const Lsn from = decoder.fed_to();
    decoder.feed(from, std::span(file_).subspan(from - origin_));
    wal::Record record;
    if (decoder.next(record) != wal::Step::kRecord || record.start != control.checkpoint_record)
      return Status(Code::kCorrupt, "could not locate a valid checkpoint record");
    writer_ = std::make_unique<wal::LogWriter>(identity_, record.end, record.start);
    written_ = flushed_ = reserved_ = record.end;
    memory_ = file_;
    // It takes the log up to here for durable, and shows what is in it.
    observer_.flushed(flushed_);
    next_xid_ = static_cast<uint32_t>(checkpoint_.next_xid);
    for (uint32_t i = 0; i < plan_.lazy_files.size(); ++i) {
      if (plan_.lazy_files[i].path == "base/5/16384") relation_file_ = i;
    }
    word_.nonce = plan_.nonce;
    word_.term = plan_.term;
    word_.lsn = record.end;
    for (uint32_t i = 0; i < options_.backends; ++i)
      scope_.spawn("backend", [this, i] { backend(i).ignore("it was killed"); });
    scope_.spawn("checkpointer", [this] { shut_down().ignore("it was killed"); });
    return Status();
  }

  PostgresWalTail tail() const override {
    PostgresWalTail tail = tail_;
    tail.tickets = tickets_;
    tail.inserted = reserved_;
    tail.flushed = told_flushed_;
    return tail;
  }

  Status wait_wal(Instant deadline) override {
    if (over()) return gone();
    if (!rang_) {
      const Status woken = bell_.wait("the log's bell", deadline);
      if (!woken.ok() && !woken.is(Code::kDeadlineExceeded)) return woken;
    }
    rang_ = false;
    return over() ? gone() : Status();
  }

  Result<Bytes> read_wal(LsnRange range) override {
    if (random_.chance(300000)) VARVE_TRY(linger());
    MutableBytes out = MutableBytes::zeroed(range.end - range.start);
    for (Lsn at = std::max(range.start, origin_); at < range.end && at < file_end(); at = at + 8) {
      std::memcpy(out.data() + (at - range.start), file_.data() + (at - origin_),
                  std::min<uint64_t>(8, range.end - at));
    }
    return std::move(out).freeze();
  }

  void set_gate(const PostgresGateWord& word) override {
    if (!word_.open) return;
    if (word.nonce != plan_.nonce || word.term != plan_.term)
      observer_.violation("a gate word of another life or term");
    if (word.answered > tickets_) observer_.violation("an answer to a ticket that nobody took");
    if (word.answered < word_.answered || word.lsn < word_.lsn)
      observer_.violation("the gate word went back");
    word_ = word;
    gate_.wake_all();
  }

  Result<PostgresPageWanted> next_page() override {
    while (wanted_.empty()) {
      if (over()) return gone();
      VARVE_TRY(asking_.wait("a question for pages"));
    }
    const PostgresPageWanted wanted = wanted_.front();
    wanted_.pop_front();
    return wanted;
  }

  void answer_page(PostgresPageAnswer answer) override {
    if (!open_requests_.contains(answer.request)) return;
    answers_[answer.request] = std::move(answer);
    answered_.wake_all();
  }

  Result<PostgresNote> next_note() override {
    while (!over()) VARVE_TRY(notes_.wait("notes"));
    return gone();
  }

  Result<Bytes> read_file(const std::string& path) override {
    for (const PostgresFile& file : plan_.files) {
      if (file.path == path) return file.content;
    }
    return Status(Code::kNotFound, "no such file").with_object(path);
  }
  Status wait_ready(Instant) override { return over() ? gone() : Status(); }
  Status pause() override {
    paused_ = true;
    return over() ? gone() : Status();
  }
  Status resume() override {
    paused_ = false;
    resumed_.wake_all();
    return over() ? gone() : Status();
  }

  Status stop(PostgresStop how) override {
    if (over()) return Status();
    switch (how) {
      case PostgresStop::kFast:
        stopping_.set();
        return Status();
      case PostgresStop::kImmediate:
      case PostgresStop::kKill:
        break;
    }
    killed_ = true;
    scope_.cancel();
    const Shield shield;
    scope_.join().ignore("every process was killed");
    finish({137, "killed"});
    return Status();
  }

  Result<PostgresExit> wait_exit() override {
    VARVE_TRY(exited_.wait("the postmaster's exit"));
    return exit_;
  }

 private:
  struct Copy {
    LsnRange extent;
    bool done = false;
  };

  struct Inserted {
    LsnRange extent;
    uint32_t crc = 0;
  };

  bool over() const { return exited_.is_set(); }
  static Status gone() { return Status(Code::kUnavailable, "Postgres has ended"); }
  Lsn file_end() const { return origin_ + file_.size(); }

  void finish(PostgresExit exit) {
    if (over()) return;
    exit_ = std::move(exit);
    exited_.set();
    bell_.wake_all();
    asking_.wake_all();
    notes_.wake_all();
  }

  // A stopped process does nothing more, above all tell no client anything.
  Status not_stopped() {
    while (paused_) VARVE_TRY(resumed_.wait("the signal to go on"));
    return Status();
  }

  Status linger() {
    const auto longest = static_cast<uint64_t>(options_.longest_pause.to_micros());
    return sleep_for(Duration::micros(static_cast<int64_t>(random_.below(longest + 1))));
  }

  // The forged segments, from the page of the checkpoint record on.
  Status read_segments(Lsn record) {
    origin_ = record.page_start();
    const uint32_t size = identity_.segment_size;
    for (const PostgresSparseFile& sparse : plan_.sparse_files) {
      const auto name = wal::parse_segment_file_name(sparse.path.substr(7), size);
      if (!name.has_value()) return Status(Code::kInvalid, "no segment: " + sparse.path);
      for (const PostgresSparseFile::Piece& piece : sparse.pieces) {
        const Lsn at(name->number * size + piece.offset);
        if (at < origin_) continue;
        const Lsn end = (at + piece.content.size() + (kWalPageSize - 1)).page_start();
        if (end > file_end()) file_.resize(end - origin_, 0);
        std::memcpy(file_.data() + (at - origin_), piece.content.data(), piece.content.size());
      }
    }
    return Status();
  }

  // ---- the log ----

  // Takes the record's place, then copies it there bit by bit; others run in between.
  Result<Inserted> insert(std::vector<uint8_t> raw) {
    std::vector<uint8_t> bytes;
    const Lsn from = writer_->boundary();
    const LsnRange extent = writer_->append(raw, bytes);
    const Lsn pages = (extent.end + (kWalPageSize - 1)).page_start();
    if (pages - origin_ > memory_.size()) memory_.resize(pages - origin_, 0);
    reserved_ = extent.end;
    copies_.push_back({{from, extent.end}, false});
    const size_t number = copied_away_ + copies_.size() - 1;
    // Page headers are there before the record is.
    for (Lsn page = (from + (kWalPageSize - 1)).page_start(); page < extent.end;
         page = page + kWalPageSize) {
      std::memcpy(memory_.data() + (page - origin_), bytes.data() + (page - from),
                  wal::page_header_size(page, identity_.segment_size));
    }
    for (size_t done = 0; done < bytes.size();) {
      const size_t piece = random_.chance(800000)
                               ? bytes.size() - done
                               : std::min<size_t>(bytes.size() - done, 1 + random_.below(200));
      std::memcpy(memory_.data() + (from + done - origin_), bytes.data() + done, piece);
      done += piece;
      if (done < bytes.size()) VARVE_TRY(random_.chance(300000) ? linger() : yield());
    }
    copies_[number - copied_away_].done = true;
    while (!copies_.empty() && copies_.front().done) {
      copies_.pop_front();
      ++copied_away_;
    }
    insertions_.wake_all();
    return Inserted{extent, load_le<uint32_t>(raw.data() + 20)};
  }

  Lsn inserted() const { return copies_.empty() ? reserved_ : copies_.front().extent.start; }

  void tell(Lsn from, Lsn end) {
    tail_ = {};
    tail_.end = end;
    for (Lsn word = end; word > from;) {
      word = Lsn(word.value - 8);
      const auto value = load_le<uint64_t>(file_.data() + (word - origin_));
      if (value == 0) continue;
      tail_.nonzero_at = word;
      tail_.nonzero_value = value;
      break;
    }
  }

  void write_pages(Lsn from, Lsn end) {
    if (end - origin_ > file_.size()) file_.resize(end - origin_, 0);
    std::memcpy(file_.data() + (from - origin_), memory_.data() + (from - origin_), end - from);
    tell(from, end);
    last_page_ = Lsn(end.value - kWalPageSize);
  }

  void ring() {
    rang_ = true;
    bell_.wake_all();
  }

  Status flush(Lsn target) {
    while (flushed_ < target) {
      const MutexGuard lock(write_lock_, "the WAL write lock");
      VARVE_TRY(lock.status());
      if (flushed_ >= target) break;
      while (inserted() < target) VARVE_TRY(insertions_.wait("insertions before a flush"));
      const Lsn upto = inserted();
      if (upto > written_) {
        write_pages(written_.page_start(), (upto + (kWalPageSize - 1)).page_start());
        written_ = upto;
      }
      VARVE_TRY(gate());
      flushed_ = std::max(flushed_, upto);
      observer_.flushed(flushed_);
    }
    return Status();
  }

  // fdatasync of a segment under the shim.
  Status gate() {
    const uint64_t ticket = ++tickets_;
    ring();
    while (!(word_.open && word_.answered >= ticket)) {
      if (word_.open && word_.rewrite > rewritten_) {
        rewritten_ = word_.rewrite;
        write_pages(last_page_, last_page_ + kWalPageSize);
        ring();
      }
      VARVE_TRY(gate_.wait("the commit gate"));
    }
    return Status();
  }

  // ---- pages ----

  Result<std::vector<uint8_t>*> read_page(uint32_t block) {
    for (;;) {
      if (const auto at = pool_.find(block); at != pool_.end()) return &at->second;
      PostgresPageWanted wanted;
      wanted.request = ++requests_;
      wanted.file = relation_file_;
      wanted.first = block;
      wanted.blocks = random_.chance(500000) ? 1 : options_.blocks - block;
      open_requests_.insert(wanted.request);
      wanted_.push_back(wanted);
      asking_.wake_all();
      while (!answers_.contains(wanted.request)) VARVE_TRY(answered_.wait("pages"));
      PostgresPageAnswer answer = std::move(answers_[wanted.request]);
      answers_.erase(wanted.request);
      open_requests_.erase(wanted.request);
      switch (answer.fate) {
        case PostgresPageFate::kHere:
          keep(block, wanted.blocks, answer);
          break;
        case PostgresPageFate::kRetry:
          VARVE_TRY(sleep_for(Duration::millis(20)));
          break;
        case PostgresPageFate::kLost:
          observer_.violation("a page is lost: block " + std::to_string(block));
          return Status(Code::kCorrupt, "a page is lost");
      }
    }
  }

  // A page that is here already may be newer: it stays.
  void keep(uint32_t first, uint32_t most, const PostgresPageAnswer& answer) {
    if (answer.pages.empty() || answer.pages.size() > most)
      observer_.violation("an answer of " + std::to_string(answer.pages.size()) + " pages");
    for (uint32_t i = 0; i < answer.pages.size(); ++i) {
      const Bytes& page = answer.pages[i];
      const Lsn lsn(uint64_t{load_le<uint32_t>(page.data())} << 32 |
                    load_le<uint32_t>(page.data() + 4));
      if (lsn > reserved_) observer_.violation("a page from the future: " + lsn.to_string());
      pool_.try_emplace(first + i, page.span().begin(), page.span().end());
    }
  }

  // ---- processes ----

  Status backend(uint32_t number) {
    RandomStream draws = random_.fork("backend " + std::to_string(number));
    for (uint32_t i = 0; i < options_.transactions && !stopping_.is_set(); ++i) {
      VARVE_TRY(sleep_for(Duration::micros(static_cast<int64_t>(
          draws.below(static_cast<uint64_t>(options_.longest_pause.to_micros()) + 1)))));
      VARVE_TRY(transaction(draws));
    }
    ++idle_backends_;
    idle_.wake_all();
    return Status();
  }

  Status transaction(RandomStream& draws) {
    VARVE_TRY(not_stopped());
    const auto block = static_cast<uint32_t>(draws.below(options_.blocks));
    const MutexGuard lock(page_locks_[block], "a buffer's lock");
    VARVE_TRY(lock.status());
    VARVE_TRY_ASSIGN(std::vector<uint8_t> * page, read_page(block));
    ModelCommit commit;
    commit.block = block;
    commit.xid = next_xid_++;
    commit.counter = ModelPage::counter(*page) + 1;
    store_le<uint16_t>(page->data() + 12, kPageHeader + kContent);
    store_le<uint16_t>(page->data() + 14, kBlockSize);
    store_le<uint16_t>(page->data() + 16, kBlockSize);
    store_le<uint16_t>(page->data() + 18, kBlockSize | 4);
    store_le<uint64_t>(page->data() + kPageHeader, commit.counter);
    store_le<uint64_t>(page->data() + kPageHeader + 8, commit.xid);
    VARVE_TRY_ASSIGN(const Inserted image, insert(image_record(commit.xid, block, *page)));
    store_le<uint32_t>(page->data(), static_cast<uint32_t>(image.extent.end.value >> 32));
    store_le<uint32_t>(page->data() + 4, static_cast<uint32_t>(image.extent.end.value));
    uint8_t time[8] = {};
    const std::vector<uint8_t> raw = wal::build_record(
        *identity_.version, {.xid = commit.xid,
                             .info = 0x00,
                             .rmid = static_cast<uint8_t>(wal::Rmgr::kTransaction),
                             .main_data = time});
    VARVE_TRY_ASSIGN(const Inserted end, insert(raw));
    commit.record = end.extent;
    commit.crc = end.crc;
    if (draws.chance(options_.asynchronous_per_million)) return Status();
    VARVE_TRY(flush(commit.record.end));
    VARVE_TRY(not_stopped());
    observer_.acknowledged(commit);
    return Status();
  }

  std::vector<uint8_t> image_record(uint32_t xid, uint32_t block,
                                    const std::vector<uint8_t>& page) const {
    wal::BlockReference reference;
    reference.id = 0;
    reference.block = {options_.relation, wal::Fork::kMain, block};
    wal::BlockImage image;
    image.bytes = std::span(page).first(kPageHeader + kContent);
    image.hole_offset = kPageHeader + kContent;
    image.hole_length = kBlockSize - kPageHeader - kContent;
    image.apply = true;
    reference.image = image;
    return wal::build_record(*identity_.version, {.xid = xid,
                                                  .info = kFullPageImage,
                                                  .rmid = static_cast<uint8_t>(wal::Rmgr::kXlog),
                                                  .blocks = std::span(&reference, 1)});
  }

  Status shut_down() {
    uint8_t oid[4];
    store_le<uint32_t>(oid, checkpoint_.next_oid + 8192);
    VARVE_TRY(insert(wal::build_record(*identity_.version, {.info = kNextOid, .main_data = oid}))
                  .status());
    VARVE_TRY(stopping_.wait("a reason to stop"));
    VARVE_TRY(not_stopped());
    while (idle_backends_ < options_.backends) VARVE_TRY(idle_.wait("backends to end"));
    wal::Checkpoint last = checkpoint_;
    last.next_xid = (checkpoint_.next_xid >> 32 << 32) | next_xid_;
    last.next_oid += 8192;
    last.redo = wal::to_start_form(writer_->boundary(), identity_.segment_size);
    const auto body = last.encode(*identity_.version);
    VARVE_TRY_ASSIGN(const Inserted end,
                     insert(wal::build_record(*identity_.version, {.main_data = body})));
    VARVE_TRY(flush(end.extent.end));
    finish({0, "asked to stop"});
    return Status();
  }

  const PostgresPlan plan_;
  const ModelPostgresOptions options_;
  RandomStream random_;
  ModelPostgresObserver& observer_;
  wal::LogIdentity identity_;
  wal::Checkpoint checkpoint_;
  std::unique_ptr<wal::LogWriter> writer_;
  Lsn origin_;                   // where memory_ and file_ begin
  std::vector<uint8_t> memory_;  // WAL buffers
  std::vector<uint8_t> file_;    // segment files
  std::deque<Copy> copies_;      // places taken, in order, from the first that is not filled
  size_t copied_away_ = 0;
  Lsn reserved_, written_, flushed_, last_page_, told_flushed_;
  uint32_t next_xid_ = 0;
  PostgresWalTail tail_;
  PostgresGateWord word_;
  uint64_t tickets_ = 0, rewritten_ = 0, requests_ = 0;
  uint32_t relation_file_ = 0;
  uint32_t idle_backends_ = 0;
  bool rang_ = false, killed_ = false, paused_ = false;
  std::map<uint32_t, std::vector<uint8_t>> pool_;
  std::map<uint32_t, Mutex> page_locks_;
  std::deque<PostgresPageWanted> wanted_;
  std::set<uint64_t> open_requests_;
  std::map<uint64_t, PostgresPageAnswer> answers_;
  PostgresExit exit_;
  Mutex write_lock_;
  Event stopping_, exited_;
  WaitQueue bell_, gate_, asking_, answered_, insertions_, idle_, notes_, resumed_;
  Scope scope_;
};

}  // namespace

uint64_t ModelPage::counter(std::span<const uint8_t> page) {
  return load_le<uint64_t>(page.data() + kPageHeader);
}
uint64_t ModelPage::last_xid(std::span<const uint8_t> page) {
  return load_le<uint64_t>(page.data() + kPageHeader + 8);
}

Result<std::unique_ptr<PostgresLife>> ModelPostgresHost::start(PostgresPlan plan) {
  auto life = std::make_unique<Life>(std::move(plan), options_, seed_, parent_, observer_);
  VARVE_TRY(life->boot());
  return std::unique_ptr<PostgresLife>(std::move(life));
}

}  // namespace varve::sim
