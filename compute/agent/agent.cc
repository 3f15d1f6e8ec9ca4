#include "compute/agent/agent.h"

#include <algorithm>
#include <utility>

#include "base/codec.h"
#include "compute/agent/digest.h"
#include "compute/agent/metrics.h"

namespace varve::compute {
namespace {

constexpr Duration kLeaseLook = Duration::millis(100);

TailSnapshot snapshot_of(const PostgresWalTail& tail) {
  return {tail.torn,          tail.tickets,  tail.end,    tail.nonzero_at,
          tail.nonzero_value, tail.inserted, tail.flushed};
}

PostgresGateWord word_of(const GateWord& word) {
  return {word.nonce, word.term, word.lsn, word.answered, word.rewrite, word.open};
}

}  // namespace

const char* agent_phase_name(AgentPhase phase) {
  switch (phase) {
    case AgentPhase::kNew:
      return "new";
    case AgentPhase::kElecting:
      return "electing";
    case AgentPhase::kCommittingStart:
      return "committing the start";
    case AgentPhase::kBackup:
      return "base backup";
    case AgentPhase::kForging:
      return "forging";
    case AgentPhase::kStarting:
      return "starting";
    case AgentPhase::kRunning:
      return "running";
    case AgentPhase::kStopping:
      return "stopping";
    case AgentPhase::kEnded:
      return "ended";
  }
  VARVE_UNREACHABLE("no such phase");
}

Duration gate_delay(const AgentOptions& options, uint64_t lag) {
  if (lag <= options.ingest_lag) return Duration();
  const uint64_t over = std::min(lag - options.ingest_lag, options.ingest_lag);
  // In microseconds, so that the product stays far from 2^64 for any lag that a disk can hold.
  const auto longest = static_cast<unsigned __int128>(options.longest_gate_delay.to_micros());
  return Duration::micros(static_cast<int64_t>(longest * over / options.ingest_lag));
}

Agent::Agent(AgentServices services, ComputeSettings settings, const AgentOptions& options,
             Scope& parent, AgentFaults faults)
    : services_(std::move(services)),
      settings_(std::move(settings)),
      options_(options),
      faults_(faults),
      scope_("agent", parent) {}

Agent::~Agent() {
  if (phase_ == AgentPhase::kNew || phase_ == AgentPhase::kEnded) return;
  doom(Status(Code::kCancelled, "the agent goes away"));
  const Shield shield;
  ended_.wait("the end of Postgres").ignore("shielded, without a deadline");
  scope_.cancel();
}

void Agent::enter(AgentPhase phase) {
  const Instant at = services_.clock.now();
  if (phase_ == AgentPhase::kNew) began_ = entered_ = at;
  services_.events.info("compute_phase", "the compute goes on",
                        {{"phase", agent_phase_name(phase)},
                         {"term", won_.term},
                         {"start", won_.start},
                         {"first", first_lsn_},
                         {"before_us", at - entered_},
                         {"since_start_us", at - began_}});
  phase_ = phase;
  entered_ = at;
  if (services_.entered) services_.entered(phase);
}

Status Agent::start() {
  VARVE_CHECK_MSG(phase_ == AgentPhase::kNew, "a life begins once");
  Status status = run_steps();
  if (status.ok()) return status;
  status = std::move(status).with_context(agent_phase_name(phase_));
  // Nothing of this life may be used again, and nothing of it runs.
  if (life_ != nullptr) life_.reset();
  services_.log.stop(status);
  end_.why = status;
  enter(AgentPhase::kEnded);
  ended_.set();
  return status;
}

Result<Manifest> Agent::backup() {
  const Lsn at = faults_.backup_at_newest ? Lsn() : won_.start;
  VARVE_TRY_ASSIGN(Manifest manifest, services_.pages.manifest(at));
  if (faults_.backup_at_newest) {
    manifest.ingested = manifest.lsn = won_.start;
  }
  if (manifest.lsn != won_.start || manifest.ingested < manifest.lsn) {
    return Status(Code::kInternal, "storage made a base backup at " + manifest.lsn.to_string() +
                                       " having read up to " + manifest.ingested.to_string())
        .with_lsn(won_.start);
  }
  const Lsn page = won_.start.page_start();
  if (manifest.page_prefix.empty() && page < won_.start) {
    // Readers of the local log can do without; nothing else rests on it.
    auto prefix = services_.log.read({page, won_.start});
    if (prefix.ok()) {
      manifest.page_prefix = std::move(*prefix);
    } else {
      services_.events.warning("compute_prefix", "the page of the start begins with a gap",
                               {{"why", prefix.status()}});
    }
  }
  return manifest;
}

// Runs `work`, which waits for storage, and ends it when the log is closed for this life. Storage
// reads what members know to be committed, and it is this life's proposer that tells them: once a
// newer term has silenced it, the position that `work` waits for may never be reached.
Status Agent::while_open(const std::function<Status()>& work) {
  Scope both("work on an open log", Scope::OnError::kCancelOthers);
  both.spawn("closed log", [this]() -> Status {
    Status why = services_.log.wait_closed();
    if (why.ok()) why = Status(Code::kUnavailable, "the log ended");
    return std::move(why).with_context("the log is closed for this compute");
  });
  both.spawn("work", [&] {
    Status status = work();
    both.cancel();
    return status;
  });
  return both.join();
}

Status Agent::trouble() const {
  switch (phase_) {
    case AgentPhase::kElecting:
    case AgentPhase::kCommittingStart:
      return services_.log.trouble(Lsn(std::max<uint64_t>(won_.start.value, 1) - 1));
    case AgentPhase::kBackup:
      return services_.pages.trouble();
    case AgentPhase::kForging:
      return services_.log.trouble(Lsn(first_lsn_.value - 1));
    case AgentPhase::kNew:
    case AgentPhase::kStarting:
    case AgentPhase::kRunning:
    case AgentPhase::kStopping:
    case AgentPhase::kEnded:
      return Status();
  }
  VARVE_UNREACHABLE("no such phase");
}

Status Agent::run_steps() {
  enter(AgentPhase::kElecting);
  VARVE_TRY_ASSIGN(won_, services_.log.elect());
  enter(AgentPhase::kCommittingStart);
  VARVE_TRY(services_.log.wait_beyond(Lsn(won_.start.value - 1)).status());
  enter(AgentPhase::kBackup);
  Manifest manifest;
  VARVE_TRY(while_open([&]() -> Status {
    VARVE_TRY_ASSIGN(manifest, backup());
    return Status();
  }));

  enter(AgentPhase::kForging);
  const WallTime wall = services_.clock.wall();
  VARVE_TRY_ASSIGN(const ForgedRecord forged, forge_start(manifest, settings_, wall));
  first_lsn_ = forged.checkpoint.end;
  nonce_ = Incarnation(load_le<uint64_t>(services_.random.unique_bytes("incarnation").data()));
  VARVE_TRY_ASSIGN(plan_, make_plan(manifest, settings_, forged, nonce_, won_.term, wall));
  VARVE_TRY(services_.log.append(Bytes::copy(forged.checkpoint.bytes)));
  if (!faults_.start_before_quorum)
    VARVE_TRY(services_.log.wait_beyond(Lsn(first_lsn_.value - 1)).status());

  enter(AgentPhase::kStarting);
  pages_ =
      std::make_unique<PageServer>(services_.pages, services_.log, services_.random,
                                   services_.events, options_, won_, first_lsn_, faults_.pages);
  VARVE_TRY(while_open([this] { return load_first_pages(); }));
  const wal::Version* version = forged.identity.version;
  gate_.emplace(
      options_.gate, forged.identity, nonce_, won_.term, first_lsn_, forged.checkpoint.start,
      [version](const wal::Record& record) { return digestible(*version, record); }, faults_.gate);
  VARVE_TRY_ASSIGN(life_, services_.host.start(plan_.postgres));
  publish_word();
  enter(AgentPhase::kRunning);
  scope_.spawn("gate", [this] {
    const Status ended = gate_fiber();
    if (!ended.is(Code::kUnavailable)) doom(ended);
  });
  scope_.spawn("quorum", [this] { quorum_fiber().ignore("the closed log ends the life"); });
  scope_.spawn("lease", [this] { lease_fiber().ignore("the life ends"); });
  scope_.spawn("closed log", [this] { closed_fiber(); });
  scope_.spawn("pages", [this] {
    const Status ended = pages_->serve(*life_, plan_, scope_);
    if (ended.is(Code::kStale)) doom(ended);
  });
  scope_.spawn("notes", [this] { notes_fiber(); });
  scope_.spawn("exit of Postgres", [this] { exit_fiber(); });
  scope_.spawn("end of the life", [this] { end_fiber(); });
  return Status();
}

Status Agent::load_first_pages() {
  if (plan_.wanted_first.empty()) return Status();
  std::vector<PageKey> keys;
  for (const auto& [file, block] : plan_.wanted_first) keys.push_back(page_of(plan_, file, block));
  VARVE_TRY_ASSIGN(std::vector<Bytes> pages, pages_->fetch(keys));
  for (size_t i = 0; i < pages.size(); ++i) {
    const auto& [file, block] = plan_.wanted_first[i];
    plan_.postgres.resident_pages.push_back({file, block, std::move(pages[i])});
  }
  return Status();
}

void Agent::publish_word() {
  life_->set_gate(word_of(gate_->word()));
}

// In this order: the word before anything else, since a closed one must be seen before a process
// dies; then what goes to the log.
void Agent::carry_out(GateEffects& effects, const Bytes& bytes, Lsn first, Status& append_status) {
  if (effects.word_changed) publish_word();
  if (!effects.propose.empty()) {
    const uint64_t length = effects.propose.end - effects.propose.start;
    append_status = services_.log.append(bytes.slice(effects.propose.start - first, length));
  }
  if (effects.kill.has_value()) {
    doom(Status(Code::kInternal, std::string("the gate closed: ") +
                                     kill_reason_name(effects.kill->reason) + ": " +
                                     effects.kill->text));
  }
}

// One look at the local log; when to look again, if the gate wants that.
Result<std::optional<Instant>> Agent::look() {
  const MutexGuard alone(looking_, "another look at the log");
  VARVE_TRY(alone.status());
  const TailSnapshot tail = snapshot_of(life_->tail());
  const LsnRange range = gate_->wanted(tail);
  Bytes bytes;
  if (!range.empty()) {
    VARVE_TRY_ASSIGN(bytes, life_->read_wal(range));
    VARVE_CHECK(bytes.size() == range.end - range.start);
  }
  // The gate may have been closed while the bytes were read; then it wants none.
  GateEffects effects = gate_->on_tail(services_.clock.now(), tail, bytes.span());
  Status appended;
  carry_out(effects, bytes, range.start, appended);
  VARVE_TRY(appended);
  return effects.look_at;
}

Status Agent::gate_fiber() {
  std::optional<Instant> again;
  for (;;) {
    const Instant regular = services_.clock.now() + options_.look_interval;
    VARVE_TRY(life_->wait_wal(again.has_value() ? std::min(*again, regular) : regular));
    VARVE_TRY_ASSIGN(again, look());
  }
}

Status Agent::quorum_fiber() {
  Lsn seen(first_lsn_.value - 1);
  for (;;) {
    VARVE_TRY_ASSIGN(const CommitPosition position, services_.log.wait_beyond(seen));
    seen = position.lsn;
    VARVE_TRY(hold_back(position.lsn));
    GateEffects effects = gate_->on_quorum(position.term, position.lsn);
    Status unused;
    carry_out(effects, {}, {}, unused);
  }
}

// The next life waits for storage to read all of the log, so commits are slowed down to what
// storage reads. What storage told last is as old as the last answer of a member: one that restarts
// tells nothing new, and the lag grows meanwhile, which is what it does in truth.
Status Agent::hold_back(Lsn committed) {
  const Lsn ingested = services_.log.ingested();
  const uint64_t lag = ingested.valid() && ingested < committed ? committed - ingested : 0;
  const Duration delay = gate_delay(options_, lag);
  if (services_.metrics != nullptr) {
    services_.metrics->set(kIngestLag, static_cast<int64_t>(lag));
    services_.metrics->add(kCommitsHeld, static_cast<uint64_t>(delay.to_micros()));
  }
  if (!held_back_ && delay > Duration()) {
    held_back_ = true;
    services_.events.warning("storage_lags", "commits are slowed down until storage has caught up",
                             {{"bytes", lag}, {"limit", options_.ingest_lag}});
  } else if (held_back_ && lag <= options_.ingest_lag / 2) {
    held_back_ = false;
    services_.events.info("storage_caught_up", "commits go on at full speed", {{"bytes", lag}});
  }
  return delay > Duration() ? sleep_for(delay) : Status();
}

void Agent::closed_fiber() {
  Status why = services_.log.wait_closed();
  if (why.ok()) why = Status(Code::kUnavailable, "the log ended");
  doom(std::move(why).with_context("the log is closed for this compute"));
}

// Terms fence writes; reads are fenced by this. While no quorum confirms the term somebody else may
// have won it, and what Postgres shows may be old; so it is stopped where it stands, and goes on
// with all that it had cached when the quorum confirms the same term. A higher one closes the log,
// which ends the life.
Status Agent::lease_fiber() {
  for (;;) {
    const Instant valid_until = services_.log.confirmed() + options_.lease;
    if (now() < valid_until) {
      VARVE_TRY(sleep_for(valid_until - now()));
      continue;
    }
    const Instant lost = now();
    services_.events.warning("lease_lost", "no quorum confirms the term: Postgres is stopped",
                             {{"term", won_.term}});
    VARVE_TRY(life_->pause());
    while (now() >= services_.log.confirmed() + options_.lease) {
      services_.log.announce();
      VARVE_TRY(sleep_for(kLeaseLook));
    }
    VARVE_TRY(life_->resume());
    services_.events.info("lease_back", "the quorum confirms the term: Postgres goes on",
                          {{"after_us", now() - lost}});
  }
}

void Agent::notes_fiber() {
  for (;;) {
    auto note = life_->next_note();
    if (!note.ok()) return;
    const bool file = note->kind == PostgresNote::Kind::kUnknownFile;
    services_.events.warning(
        file ? "compute_unknown_file" : "compute_refused_call",
        file ? "a file that no restart brings back" : "a call of Postgres was refused",
        {{"what", note->text}});
  }
}

void Agent::exit_fiber() {
  auto exit = life_->wait_exit();
  if (!exit.ok()) return;  // cancelled
  if (phase_ == AgentPhase::kStopping && exit->code == 0) {
    // The last record passed the gate, so the quorum has it; what else is in the file is looked at
    // once more, and waited for.
    auto last = look();
    const bool held = last.ok() && gate_->word().open &&
                      services_.log.wait_beyond(Lsn(gate_->proposed().value - 1)).ok();
    clean_exit_ = held;
    doom(held ? Status() : Status(Code::kUnavailable, "the quorum was lost while stopping"));
    return;
  }
  doom(Status(Code::kUnavailable,
              "Postgres ended with " + std::to_string(exit->code) + ": " + exit->reason));
}

void Agent::doom(Status why) {
  if (doomed_.is_set() || phase_ == AgentPhase::kEnded) return;
  end_.clean = clean_exit_;
  end_.why = std::move(why);
  if (gate_.has_value() && life_ != nullptr) {
    gate_->on_stop(end_.why.to_string());
    publish_word();
  }
  doomed_.set();
}

// Waits for the reason, then ends everything. Shielded: whoever is cancelled must not leave a
// Postgres behind.
void Agent::end_fiber() {
  const Shield shield;
  doomed_.wait("a reason to end").ignore("shielded, without a deadline");
  if (!end_.clean) {
    services_.events.warning("compute_ends", "this life of the compute is over",
                             {{"why", end_.why}, {"term", won_.term}});
  }
  life_->stop(PostgresStop::kKill).ignore("what can't be killed can't pass the gate either");
  gate_->on_stop("ended");
  publish_word();
  services_.log.stop(end_.why.ok() ? Status(Code::kCancelled, "the compute was stopped")
                                   : end_.why);
  enter(AgentPhase::kEnded);
  ended_.set();
  scope_.cancel();
}

Status Agent::wait_ready() {
  if (life_ == nullptr) return Status(Code::kUnavailable, "Postgres does not run");
  VARVE_TRY(life_->wait_ready(Instant::never()));
  services_.events.info("compute_ready", "Postgres takes connections",
                        {{"since_start_us", services_.clock.now() - began_}});
  return Status();
}

const AgentEnd& Agent::stop() {
  if (phase_ == AgentPhase::kRunning) {
    enter(AgentPhase::kStopping);
    const Status asked = life_->stop(PostgresStop::kFast);
    if (!asked.ok()) doom(asked);
    Status done;
    {
      const DeadlineGuard limit(options_.stop_limit);
      done = ended_.wait("a fast stop of Postgres");
    }
    if (!done.ok()) doom(std::move(Status(done)).with_context("the fast stop took too long"));
  }
  return wait_end();
}

const AgentEnd& Agent::wait_end() {
  const Shield shield;
  ended_.wait("the end of the compute").ignore("shielded, without a deadline");
  return end_;
}

Result<Bytes> Agent::auto_conf() {
  if (life_ == nullptr) return Status(Code::kUnavailable, "Postgres was not started");
  return life_->read_file("postgresql.auto.conf");
}

Result<Lsn> Agent::settle() {
  if (phase_ != AgentPhase::kRunning || doomed_.is_set())
    return Status(Code::kUnavailable, "this compute is not running");
  services_.log.announce();
  const CommitPosition position = services_.log.committed();
  return std::max(position.term == won_.term ? position.lsn : Lsn(), first_lsn_);
}

}  // namespace varve::compute
