#include "supervisor/kept_process.h"

#include "runtime/scope.h"
#include "runtime/sync.h"
#include "wire/rpc_client.h"

namespace varve::supervisor {
namespace {

// A process that is about to listen is asked this often.
constexpr Duration kProbeFirst = Duration::millis(4);
constexpr Duration kProbeMaximum = Duration::millis(50);
constexpr Duration kProbeLimit = Duration::seconds(2);

}  // namespace

Status describe_end(const ProcessSpec& spec, int code) {
  std::string how = "ended without being asked to";
  if (code > 128) {
    how = "was killed by signal " + std::to_string(code - 128);
  } else if (code != 0) {
    how = "ended with exit code " + std::to_string(code);
  }
  return Status(Code::kUnavailable, spec.name + " " + how)
      .with_hint("its last words are in log/" + spec.name + ".log");
}

KeptProcess::KeptProcess(const ProcessContext& context, ProcessSpec spec, Scope& scope)
    : context_(context),
      spec_(std::move(spec)),
      backoff_(BackoffPolicy{context.options.pause_first,
                             std::max(context.options.pause_first, context.options.pause_maximum),
                             context.options.stable_life}) {
  // Whoever begins it may have a deadline; the process has none.
  const ContextGuard own_life{FiberContext()};
  scope.spawn("keep a process", [this] { keep(); });
}

KeptProcess::~KeptProcess() {
  VARVE_CHECK_MSG(stopped(), "a kept process is forgotten while it may live");
}

void KeptProcess::change(ProcessState state) {
  state_ = state;
  changed_.wake_all();
}

void KeptProcess::tell(ProcessEvent::Kind kind, Duration took, const Status& why) {
  if (context_.observer) context_.observer(ProcessEvent{kind, spec_, took, why});
}

void KeptProcess::keep() {
  while (wanted_ && check_cancelled().ok()) {
    ++lives_;
    const Status ended = live();
    if (!wanted_) break;
    if (ended.ok() && spec_.may_end) {
      last_end_ = Status();
      break;
    }
    last_end_ = ended.ok() ? describe_end(spec_, 0) : ended;
    if (!pause_before_next()) break;
  }
  const bool asked = !wanted_;
  wanted_ = false;
  change(ProcessState::kStopped);
  if (asked) tell(ProcessEvent::Kind::kStopped, now() - stop_asked_);
}

// One life, to its end. Success: exit code 0.
Status KeptProcess::live() {
  do {
    incarnation_ = Incarnation(context_.world.random.below(UINT64_MAX, "incarnation"));
  } while (incarnation_.value == 0);
  ProcessCommand command;
  command.name = spec_.name;
  command.arguments = spec_.arguments;
  command.arguments.push_back("--incarnation");
  command.arguments.push_back(incarnation_.to_string());
  command.environment = spec_.environment;
  command.output_path = "log/" + spec_.name + ".log";
  begun_ = now();
  backoff_.succeeded(begun_);
  VARVE_TRY_ASSIGN(process_, context_.host.spawn(command));
  change(ProcessState::kStarting);
  if (!wanted_) send_stop();

  Scope beside("beside a process");
  beside.spawn("wait for its hello", [this] { probe(); });
  beside.spawn("limit its stop", [this] { limit_stop(); });
  const Result<int> code = process_->wait();
  beside.cancel();
  {
    const Shield until_they_have_left;
    beside.join().ignore("they have no verdict");
  }
  process_.reset();  // kills it, when the wait was cancelled
  if (!code.ok()) return code.status();
  return *code == 0 ? Status() : describe_end(spec_, *code);
}

// Ready is who answers as the node and the life that was begun: an older process may still hold
// the port, and a stranger may have taken it.
void KeptProcess::probe() {
  if (spec_.node.value != 0) {
    Scope connecting("probe connection");
    RpcClientOptions options;
    options.connect_timeout = kProbeLimit;
    options.backoff_first = kProbeFirst;
    options.backoff_maximum = kProbeMaximum;
    options.expected_node = spec_.node;
    RpcClient client(context_.world.network, context_.world.random, connecting, spec_.address,
                     context_.token, RpcIdentity{context_.node, Incarnation(), "supervisor"},
                     options);
    for (;;) {
      const Result<RpcIdentity> peer = client.peer();
      if (peer.ok() && peer->incarnation == incarnation_) break;
      client.disconnect();
      if (!sleep_for(kProbeFirst).ok()) return;
    }
  }
  was_ready_ = true;
  change(ProcessState::kRunning);
  tell(ProcessEvent::Kind::kReady, now() - begun_);
}

// False when there is to be no next life.
bool KeptProcess::pause_before_next() {
  backoff_.failed(now(), context_.world.random.below(UINT64_MAX, "restart pause"));
  change(ProcessState::kWaiting);
  tell(ProcessEvent::Kind::kEnded, backoff_.wait(now()), last_end_);
  while (wanted_ && backoff_.wait(now()).nanoseconds > 0) {
    const Status waited = unwanted_.wait("pause between lives", backoff_.next_attempt());
    if (waited.is(Code::kCancelled)) return false;  // the deadline is the pause's end
  }
  return wanted_;
}

void KeptProcess::send_stop() {
  if (process_ == nullptr) return;
  // It may have ended meanwhile, which is what is wanted.
  process_->signal(kill_ ? ProcessSignal::kKill : ProcessSignal::kStop)
      .ignore("a process that has ended needs no signal");
  // One that somebody has paused would not hear of it.
  if (!kill_) process_->signal(ProcessSignal::kContinue).ignore("the same");
}

Status KeptProcess::stop() {
  if (wanted_) {
    wanted_ = false;
    stop_asked_ = now();
    unwanted_.wake_all();
    send_stop();
  }
  return wait_stopped();
}

// Here and not in stop(): who asked may leave before the limit.
void KeptProcess::limit_stop() {
  while (wanted_) {
    if (!unwanted_.wait("a stop").ok()) return;
  }
  const Instant limit = stop_asked_ + spec_.stop_limit;
  while (now() < limit) {
    if (!sleep_for(limit - now()).ok()) return;
  }
  if (kill_) return;
  tell(ProcessEvent::Kind::kKilled, now() - stop_asked_);
  kill_ = true;
  send_stop();
}

void KeptProcess::kill() {
  if (wanted_) {
    wanted_ = false;
    stop_asked_ = now();
    unwanted_.wake_all();
  }
  kill_ = true;
  send_stop();
}

Status KeptProcess::wait_stopped() {
  while (!stopped()) VARVE_TRY(changed_.wait("a process to end"));
  return Status();
}

Status KeptProcess::wait_spawned() {
  while (process_ == nullptr && last_end_.ok() && !stopped()) {
    VARVE_TRY(changed_.wait("a process to be spawned"));
  }
  return process_ == nullptr ? last_end_ : Status();
}

Status KeptProcess::wait_ready(Instant deadline) {
  while (!was_ready_) {
    if (!wanted_) return Status(Code::kCancelled, spec_.name + " was stopped before it was ready");
    if (!last_end_.ok() && lives_ >= context_.options.start_attempts) return last_end_;
    const Status waited = changed_.wait("a process to be ready", deadline);
    if (waited.is(Code::kDeadlineExceeded) && now() >= deadline) {
      return Status(Code::kDeadlineExceeded, spec_.name + " does not answer")
          .with_object(spec_.address.to_string())
          .with_hint("its last words are in log/" + spec_.name + ".log");
    }
    VARVE_TRY(waited);
  }
  return Status();
}

}  // namespace varve::supervisor
