#include "consensus/proposer/driver.h"

#include <algorithm>
#include <utility>

#include "consensus/proposer/front.h"

namespace varve::consensus {
namespace {

// So much is worth a message of its own to anybody.
constexpr uint64_t kMuchUnsent = 128 << 10;

}  // namespace

ProposerDriver::ProposerDriver(World& world, ProposerConfig config, Credentials credentials,
                               const ProposerOptions& options, Scope& parent,
                               ProtocolObserver* observer)
    : world_(world),
      config_(std::move(config)),
      credentials_(std::move(credentials)),
      options_(options),
      observer_(observer),
      core_(Proposer(config_)),
      memory_(options.memory_bytes),
      scope_("proposer", parent) {
  connect_to(config_.membership);
  scope_.spawn("proposer heartbeat", [this] { return heartbeat_fiber(); });
}

ProposerDriver::~ProposerDriver() {
  VARVE_CHECK_MSG(scope_.live() == 0, "a proposer must be stopped before it goes");
}

void ProposerDriver::stop(Status why) {
  if (closed_.ok()) {
    closed_ = std::move(why);
    step(StopProposer{});
  }
  scope_.cancel();
  const Shield shield;
  scope_.join().ignore("its fibers end with what closed it");
  wake_all();
}

// ---- the core

void ProposerDriver::step(const ProposerInput& input) {
  std::vector<ProposerEffect> effects;
  {
    const NoSuspend no_suspend;
    core_->step(input, effects, observer_);
    for (ProposerEffect& effect : effects) on_effect(effect);
  }
  for (auto& [node, peer] : peers_) {
    const bool holds = peer->held_since && patience(*peer) > Duration();
    if (!peer->outbox.empty() || (core_->has_append(NodeId(node)) && !holds)) {
      peer->work.wake_all();
    }
  }
}

void ProposerDriver::on_effect(ProposerEffect& effect) {
  if (auto* send = std::get_if<SendToMember>(&effect)) {
    if (Peer* peer = find(send->to)) peer->outbox.push_back(std::move(send->message));
  } else if (const auto* drop = std::get_if<DropMember>(&effect)) {
    world_.log.info("safekeeper_dropped", drop->why, {{"node", drop->node}});
    Peer* peer = find(drop->node);
    if (peer != nullptr && peer->conversation != nullptr) peer->conversation->cancel();
  } else if (const auto* adopted = std::get_if<MembershipAdopted>(&effect)) {
    config_.membership = adopted->membership;
    connect_to(config_.membership);
  } else if (const auto* won = std::get_if<WonElection>(&effect)) {
    won_ = *won;
    world_.log.info(
        "proposer_elected", "this compute may write",
        {{"timeline", config_.id.timeline}, {"term", won->term}, {"start", won->start}});
    changed_.wake_all();
  } else if (const auto* committed = std::get_if<Committed>(&effect)) {
    // Closed is closed: an acknowledgement that comes later moves nothing.
    if (closed_.ok()) commit_.set(committed->lsn);
  } else if (const auto* closed = std::get_if<Closed>(&effect)) {
    on_closed(*closed);
  }
}

void ProposerDriver::on_closed(const Closed& effect) {
  if (!closed_.ok()) return;
  const bool may_try_again = !won_ && effect.reason != CloseReason::kNoStart;
  if (may_try_again) {
    begin_again();
    return;
  }
  const bool newer =
      effect.reason == CloseReason::kHigherTerm || effect.reason == CloseReason::kOtherGeneration;
  closed_ = Status(newer ? Code::kStale : Code::kInvalid, close_reason_message(effect.reason))
                .with_object(config_.id.to_string());
  wake_all();
}

// A lost campaign: a new core from the greeting on, everybody connected anew after a pause.
void ProposerDriver::begin_again() {
  core_.emplace(config_);
  for (auto& [node, peer] : peers_) {
    peer->outbox.clear();
    if (peer->conversation != nullptr) peer->conversation->cancel();
  }
}

void ProposerDriver::wake_all() {
  changed_.wake_all();
  commit_.set(commit_.get());
  for (auto& [node, peer] : peers_) peer->work.wake_all();
}

ProposerDriver::Peer* ProposerDriver::find(NodeId node) {
  const auto found = peers_.find(node.value);
  return found == peers_.end() || found->second->gone ? nullptr : found->second.get();
}

void ProposerDriver::connect_to(const Membership& membership) {
  for (auto& [node, peer] : peers_) {
    peer->gone = !membership.contains(NodeId(node));
    if (peer->gone && peer->conversation != nullptr) peer->conversation->cancel();
  }
  for (const Member& member : membership.all()) {
    auto& slot = peers_[member.node.value];
    if (slot != nullptr) continue;
    slot = std::make_unique<Peer>();
    slot->member = member;
    Peer* peer = slot.get();
    scope_.spawn("proposer member", [this, peer] { return peer_fiber(*peer); });
  }
}

// ---- for the owner

Result<WonElection> ProposerDriver::elect() {
  while (!won_ && closed_.ok()) VARVE_TRY(changed_.wait("the election"));
  if (!closed_.ok()) return closed_;
  return *won_;
}

Status ProposerDriver::append(Bytes wal) {
  VARVE_CHECK_MSG(won_.has_value(), "only an elected proposer appends");
  const auto uncommitted = [&] {
    return core_->available() - std::max(commit_.get(), won_->start);
  };
  while (closed_.ok() && uncommitted() > options_.memory_bytes / 2) {
    VARVE_TRY(commit_.wait_change("room for WAL that is not committed"));
  }
  if (!closed_.ok()) return closed_;
  const Lsn begin = core_->available();
  const Lsn end = begin + wal.size();
  memory_.append(begin, std::move(wal));
  step(WalAvailable{end});
  return Status();
}

Status ProposerDriver::wait_committed(Lsn lsn) {
  VARVE_TRY(
      commit_.wait_until([&](Lsn commit) { return commit >= lsn || !closed_.ok(); }, "a quorum"));
  return commit_.get() >= lsn ? Status() : closed_;
}

Status ProposerDriver::wait_closed() {
  while (closed_.ok()) VARVE_TRY(changed_.wait("the proposer to close"));
  return closed_;
}

Status ProposerDriver::trouble(Lsn lsn) const {
  if (!closed_.ok()) return closed_;
  const auto with_us = [&](const MemberState& member) {
    switch (core_->phase()) {
      case ProposerPhase::kCollecting:
        return member.link != MemberState::Link::kOffline;
      case ProposerPhase::kCampaign:
        return member.granted.has_value();
      case ProposerPhase::kElected:
        return member.link == MemberState::Link::kStreaming && member.flush >= lsn;
      case ProposerPhase::kClosed:
        return false;
    }
    VARVE_UNREACHABLE("no such phase");
  };
  const auto& members = core_->members();
  const bool quorum = core_->membership().has_quorum([&](NodeId node) {
    return std::any_of(members.begin(), members.end(), [&](const MemberState& member) {
      return member.member.node == node && with_us(member);
    });
  });
  if (quorum) return Status();
  std::string missing;
  size_t count = 0;
  for (const MemberState& member : members) {
    if (with_us(member)) {
      ++count;
      continue;
    }
    const auto peer = peers_.find(member.member.node.value);
    const Status why = peer == peers_.end() ? Status() : peer->second->lost;
    missing += "; " + address_of(member.member).to_string() + ": " +
               (why.ok() ? "it has not caught up" : why.to_string());
  }
  return Status(Code::kUnavailable, std::to_string(count) + " of " +
                                        std::to_string(members.size()) +
                                        " safekeepers are with this compute, no quorum" + missing)
      .with_hint("`varve status` tells which they are; the log of each says more");
}

void ProposerDriver::heartbeat() {
  step(Heartbeat{});
}

Status ProposerDriver::heartbeat_fiber() {
  for (;;) {
    VARVE_TRY(sleep_for(options_.heartbeat));
    step(Heartbeat{});
  }
}

Instant ProposerDriver::confirmed() const {
  const Membership& membership = core_->membership();
  Instant best(std::numeric_limits<int64_t>::min());
  for (const auto& [node, candidate] : peers_) {
    const Instant at = candidate->confirmed;
    const bool quorum = at > best && membership.has_quorum([&](NodeId member) {
      const auto found = peers_.find(member.value);
      return found != peers_.end() && found->second->confirmed >= at;
    });
    if (quorum) best = at;
  }
  return best;
}

// Which of our appends a reply answers is not told, but what is can't be older than this: each
// append is answered at most once, so n replies prove that the n-th has arrived; and a position
// that is durable there proves that the append which brought it has arrived, before which every
// answer to an earlier one had left.
void ProposerDriver::confirm(Peer& peer, const AppendResponse& response) {
  if (!won_ || response.term != won_->term) return;
  size_t answered = peer.unanswered.empty() ? 0 : 1;
  for (size_t i = 0; i < peer.unanswered.size(); ++i) {
    if (peer.unanswered[i].data && peer.unanswered[i].end <= response.flush) answered = i + 1;
  }
  if (answered == 0) return;
  const Sent& last = peer.unanswered[answered - 1];
  if (last.data) peer.pace = peer.pace + (now() - last.at - peer.pace) / 8;
  peer.confirmed = std::max(peer.confirmed, peer.unanswered[answered - 1].at);
  peer.unanswered.erase(peer.unanswered.begin(),
                        peer.unanswered.begin() + static_cast<ptrdiff_t>(answered));
}

// ---- members

Status ProposerDriver::pause() {
  const auto longest = static_cast<uint64_t>(options_.reconnect_pause.nanoseconds);
  const uint64_t pause = longest / 2 + world_.random.below(longest / 2 + 1, "reconnect jitter");
  return sleep_for(Duration::nanos(static_cast<int64_t>(pause)));
}

Status ProposerDriver::peer_fiber(Peer& peer) {
  FiberContext context = fiber_context();
  context.work_class = WorkClass::kCommit;
  const ContextGuard guard(context);
  while (closed_.ok() && !peer.gone) {
    const Status status = converse(peer);
    VARVE_TRY(check_cancelled());
    const bool news = peer.lost.code() != status.code() || peer.lost.message() != status.message();
    peer.lost = status;
    world_.log.write(news ? Severity::kWarning : Severity::kDebug, "safekeeper_lost",
                     "the conversation ended",
                     {{"node", peer.member.node},
                      {"address", address_of(peer.member).to_string()},
                      {"why", status}});
    VARVE_TRY(pause());
  }
  return Status();
}

// One connection, from the greeting to its end; the error that ended it.
Status ProposerDriver::converse(Peer& peer) {
  {
    const DeadlineGuard deadline(options_.silence);
    VARVE_TRY_ASSIGN(peer.connection,
                     PushConnection::open(world_.network, address_of(peer.member), credentials_));
  }
  if (!closed_.ok() || peer.gone) return closed_;
  Status status;
  {
    Scope conversation("conversation", Scope::OnError::kCancelOthers);
    peer.conversation = &conversation;
    peer.outbox.clear();
    peer.unanswered.clear();
    peer.held_since.reset();
    step(MemberConnected{peer.member.node});
    conversation.spawn("read member", [this, &peer] { return read_fiber(peer); });
    conversation.spawn("write member", [this, &peer] { return write_fiber(peer); });
    status = conversation.join();
    peer.conversation = nullptr;
  }
  peer.connection.reset();
  peer.feed.reset();
  step(MemberDisconnected{peer.member.node});
  choose_front();
  return status;
}

Status ProposerDriver::read_fiber(Peer& peer) {
  for (;;) {
    Result<AcceptorMessage> message = Status(Code::kInternal, "not read");
    {
      const DeadlineGuard deadline(options_.silence);
      message = peer.connection->receive();
    }
    if (!message.ok()) return message.status();
    if (const auto* response = std::get_if<AppendResponse>(&*message)) {
      peer.lost = Status();
      if (response->pageserver) feedback_ = response->pageserver;
      confirm(peer, *response);
    }
    step(MemberMessage{peer.member.node, std::move(message).value()});
    if (!closed_.ok()) return closed_;
  }
}

Status ProposerDriver::write_fiber(Peer& peer) {
  const NodeId node = peer.member.node;
  for (;;) {
    if (!closed_.ok()) return closed_;
    if (!peer.outbox.empty()) {
      const ProposerMessage message = std::move(peer.outbox.front());
      peer.outbox.pop_front();
      VARVE_TRY(peer.connection->send(message));
      continue;
    }
    VARVE_TRY_ASSIGN(const bool held, hold(peer));
    if (held) continue;
    const auto append = core_->next_append(node);
    if (!append) {
      VARVE_TRY(peer.work.wait("WAL for a member"));
      continue;
    }
    VARVE_TRY_ASSIGN(auto wal, fetch(peer, append->begin, append->end));
    peer.unanswered.push_back({now(), append->end, append->end > append->begin});
    VARVE_TRY(peer.connection->send_append(*append, std::move(wal)));
  }
}

// How long what is new for this member may wait for more of it.
//
// A commit position alone is worth no message while WAL may follow that carries it: with one commit
// behind the other it would double the messages of each. And WAL itself waits for a member that a
// quorum can do without, unless there is much of it.
Duration ProposerDriver::patience(const Peer& peer) const {
  const NodeId node = peer.member.node;
  if (core_->only_commit_is_new(node)) return options_.commit_notice;
  const bool spared = !peer.in_front && !core_->owes(node) && core_->unsent(node) < kMuchUnsent;
  return spared ? options_.spare_delay : Duration();
}

// True when it waited, and things may have changed.
Result<bool> ProposerDriver::hold(Peer& peer) {
  if (!core_->has_append(peer.member.node)) {
    peer.held_since.reset();
    return false;
  }
  if (!peer.held_since) {
    peer.held_since = world_.clock.now();
    if (!peer.in_front || !sparing_) choose_front();
  }
  const Instant until = *peer.held_since + patience(peer);
  if (world_.clock.now() >= until) {
    peer.held_since.reset();
    if (!peer.in_front) choose_front();
    return false;
  }
  const Status waited = peer.work.wait("more for a member", until);
  if (!waited.ok() && world_.clock.now() < until) return waited;
  return true;
}

// A member that owes an answer is at least as slow as it has owed it: so one that falls silent
// leaves the front as soon as a spare one is sent what it did not answer.
void ProposerDriver::choose_front() {
  if (options_.spare_delay == Duration()) return;  // all are, from the beginning
  std::vector<Runner> runners;
  for (const MemberState& member : core_->members()) {
    const Peer* peer = find(member.member.node);
    if (peer == nullptr || member.link != MemberState::Link::kStreaming) continue;
    Duration pace = peer->pace;
    const auto owed = std::find_if(peer->unanswered.begin(), peer->unanswered.end(),
                                   [](const Sent& sent) { return sent.data; });
    if (owed != peer->unanswered.end()) pace = std::max(pace, now() - owed->at);
    const bool far_behind = core_->unsent(member.member.node) >= kMuchUnsent;
    runners.push_back({member.member.node, peer->in_front, far_behind, pace});
  }
  const std::vector<NodeId> front =
      consensus::choose_front(core_->membership(), std::move(runners));
  sparing_ = false;
  for (auto& [node, peer] : peers_) {
    const bool was = std::exchange(
        peer->in_front, std::find(front.begin(), front.end(), NodeId(node)) != front.end());
    if (peer->in_front && !was) peer->work.wake_all();
    sparing_ |= !peer->in_front;
  }
}

// ---- bytes

Result<std::vector<Bytes>> ProposerDriver::fetch(Peer& peer, Lsn begin, Lsn end) {
  if (begin == end) return std::vector<Bytes>();
  if (begin >= core_->term_start()) {
    if (auto pieces = memory_.read(begin, end - begin)) {
      peer.feed.reset();
      return std::move(*pieces);
    }
  }
  return fetch_from_members(peer, begin, end);
}

Result<std::vector<Bytes>> ProposerDriver::fetch_from_members(Peer& peer, Lsn begin, Lsn end) {
  if (peer.feed == nullptr || peer.feed->position() != begin) {
    std::vector<NodeId> holders = core_->source_of(peer.member.node, begin).holders;
    for (const MemberState& member : core_->members()) {
      if (member.flush >= end && member.member.node != peer.member.node &&
          std::find(holders.begin(), holders.end(), member.member.node) == holders.end()) {
        holders.push_back(member.member.node);
      }
    }
    if (holders.empty()) {
      return Status(Code::kUnavailable, "no other member holds the WAL that this one lacks")
          .with_lsn(begin);
    }
    const Peer* holder = find(holders[peer.failures % holders.size()]);
    ++peer.failures;  // until it has worked
    if (holder == nullptr)
      return Status(Code::kUnavailable, "the WAL's holder is no member any more");
    const DeadlineGuard deadline(options_.silence);
    VARVE_TRY_ASSIGN(peer.feed, LogStream::open(world_.network, address_of(holder->member),
                                                credentials_, begin, core_->term()));
  }
  const DeadlineGuard deadline(options_.silence);
  auto pieces = peer.feed->read(end - begin);
  if (!pieces.ok()) {
    peer.feed.reset();
    return pieces.status();
  }
  if (peer.failures > 0) --peer.failures;
  return pieces;
}

}  // namespace varve::consensus
