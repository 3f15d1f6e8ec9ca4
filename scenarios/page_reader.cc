// Who asks the pageservers of page_service: readers, the maker of the branch, the verifier.
#include <algorithm>

#include "proto/pageserver.pb.h"
#include "scenarios/page_fleet.h"
#include "storage/client/methods.h"
#include "wire/rpc_proto.h"
#include "wire/token.h"

namespace varve::scenarios {
namespace {

constexpr uint32_t kRelations = 4;
constexpr uint32_t kFirstRelation = 16384;
// What can't be served now, by a node that is down, moved, starting or behind. Everything else that
// is an error contradicts something.
bool may_happen(const Status& status) {
  return status.is(Code::kUnavailable) || status.is(Code::kDeadlineExceeded) ||
         status.is(Code::kCancelled) || status.is(Code::kNotFound) || status.is(Code::kStale);
}

}  // namespace

std::unique_ptr<RpcClient> PageFleet::connect(World& world, Scope& scope, size_t pageserver) const {
  TokenClaims claims;
  claims.scope = TokenScope::kNode;
  claims.issued_to = "scenario";
  RpcClientOptions options;
  options.backoff_maximum = Duration::millis(300);
  options.connect_timeout = Duration::millis(500);
  return std::make_unique<RpcClient>(world.network, world.random, scope, address_of(pageserver),
                                     TokenSigner::from_seed({7}).sign(claims),
                                     RpcIdentity{NodeId(), {}, "scenario"}, options);
}

// ---- readers

// A page as of now, as of some moment of the past, or of one that ingest may not have reached yet.
PageQuestion PageFleet::draw_question(World& world, const PageTimeline& timeline) const {
  PageQuestion question;
  Random& random = world.random;
  const auto& log = timeline.log;
  const Lsn past = log.start() + random.below(timeline.committed - log.start() + 1, "past");
  switch (random.below(4, "kind of read")) {
    case 0:
      question.request = question.not_modified_since = past;
      break;
    case 1:
      question.request = Lsn::max();
      question.not_modified_since = past;
      break;
    default:
      // As a compute asks, whose own commits are behind it.
      question.request = Lsn::max();
      question.not_modified_since = timeline.committed;
      break;
  }
  if (random.below(10, "which pages") == 0) {
    question.status_file = true;
    return question;
  }
  const bool copy = random.below(10, "which database") < 3;
  question.relation.tablespace = storage::testing::kTablespace;
  question.relation.database = copy ? 10 + static_cast<uint32_t>(random.below(3, "database")) : 5;
  question.relation.relation =
      kFirstRelation + static_cast<uint32_t>(random.below(kRelations, "relation"));
  const auto size = log.size({question.relation, wal::Fork::kMain}, question.not_modified_since);
  question.first = static_cast<uint32_t>(random.below(size.value_or(0) + 2, "first block"));
  question.count = static_cast<uint32_t>(1 + random.below(6, "blocks"));
  return question;
}

// Whether all of it was answered; false: not now. An error: it contradicts the model.
Result<bool> PageFleet::ask(RpcClient& client, const PageTimeline& timeline,
                            const PageQuestion& question) {
  const auto answer = storage::get_pages(client, tenant_, timeline.id.timeline, {question.run()});
  if (!answer.ok()) {
    if (!may_happen(answer.status())) {
      simulation_.violation(client.address().host + ": " + answer.status().to_string());
    }
    return false;
  }
  const PageVerdict verdict = judge_pages(timeline.log, question, *answer);
  if (verdict.contradiction) {
    simulation_.violation(client.address().host + ": " + *verdict.contradiction);
    return Status(Code::kInternal, *verdict.contradiction);
  }
  pages_compared_ += verdict.compared;
  return verdict.complete;
}

void PageFleet::reader(World& world) {
  Scope scope("reader");
  std::vector<std::unique_ptr<RpcClient>> clients;
  for (size_t i = 0; i < kPageservers; ++i) clients.push_back(connect(world, scope, i));
  while (!calm_) {
    const PageTimeline& timeline = timelines_[world.random.below(timelines_.size(), "timeline")];
    if (timeline.created) {
      const PageQuestion question = draw_question(world, timeline);
      // The one that lost the tenant has nothing wrong to say either.
      RpcClient& client = *clients[world.random.below(kPageservers, "pageserver")];
      const DeadlineGuard patience(Duration::millis(1000));
      if (!ask(client, timeline, question).ok()) return;
    }
    const auto pause = static_cast<int64_t>(world.random.below(20, "pause between reads"));
    if (!sleep_for(Duration::millis(pause)).ok()) return;
  }
}

// ---- control

void PageFleet::control(World& world) {
  Scope scope("control");
  std::vector<std::unique_ptr<RpcClient>> clients;
  for (size_t i = 0; i < kPageservers; ++i) clients.push_back(connect(world, scope, i));
  PageTimeline& branch = timelines_[1];
  while (!branch.created) {
    if (!sleep_for(Duration::millis(100)).ok()) return;
    // A branch point is a place in the committed log, or the quorum could still lose it.
    if (timelines_[0].committed < branch.start || serving_ == Generation()) continue;
    const DeadlineGuard patience(Duration::seconds(2));
    const Status made = make_branch(world, *clients[attached_to_]);
    if (made.ok()) {
      wanted_.specs.push_back(
          {branch.id, membership_, server_, branch.start, Bytes(), timelines_[0].id.timeline});
      wanted_.complete = true;
      branch.created = true;
    } else if (!may_happen(made)) {
      simulation_.violation("branch: " + made.to_string());
    }
  }
}

Status PageFleet::make_branch(World& world, RpcClient& client) {
  const PageTimeline& branch = timelines_[1];
  proto::BranchTimelineRequest request;
  request.mutable_shard()->set_tenant(tenant_.tenant.bytes.data(), tenant_.tenant.bytes.size());
  request.set_timeline(branch.id.timeline.bytes.data(), branch.id.timeline.bytes.size());
  request.set_parent(timelines_[0].id.timeline.bytes.data(),
                     timelines_[0].id.timeline.bytes.size());
  request.set_generation(serving_.value);
  // Any byte of the record behind it stands for the same place.
  request.set_lsn(branch.start.value + world.random.below(8, "inside of a record"));
  VARVE_TRY_ASSIGN(const auto made,
                   call<proto::BranchTimelineResponse>(client, storage::kBranchTimeline, request));
  // A pageserver that has lost the tenant may have made it after its successor had looked. Control
  // believes only who still has the tenant, and asks again otherwise.
  if (serving_ != Generation(request.generation())) {
    return Status(Code::kUnavailable, "the tenant moved meanwhile");
  }
  if (Lsn(made.lsn()) == branch.start) return Status();
  return Status(Code::kInternal, "begins at " + Lsn(made.lsn()).to_string());
}

// ---- at the end

void PageFleet::verifier(World& world) {
  while (rounds_verified_ < kRounds) {
    if (!sleep_for(Duration::millis(100)).ok()) return;
    if (!all_written() || serving_ == Generation()) continue;
    Status status;
    for (const PageTimeline& timeline : timelines_) {
      if (status.ok()) status = verify(world, timeline);
    }
    if (status.is(Code::kCancelled) || simulation_.failure()) return;
    if (!status.ok()) continue;
    ++rounds_verified_;
    serving_ = Generation();  // until the next attachment
  }
}

// Everything as of the end, and a sample of the past, from the pageserver that has the tenant.
Status PageFleet::verify(World& world, const PageTimeline& timeline) {
  Scope scope("verify");
  const auto client = connect(world, scope, attached_to_);
  const auto certainly = [&](const PageQuestion& question) -> Status {
    const DeadlineGuard patience(Duration::seconds(10));
    VARVE_TRY_ASSIGN(const bool complete, ask(*client, timeline, question));
    return complete ? Status() : Status(Code::kUnavailable, "not now");
  };
  const auto& log = timeline.log;
  for (const auto& [fork, sizes] : log.all_sizes()) {
    PageQuestion question;
    question.relation = fork.first;
    question.request = Lsn::max();
    question.not_modified_since = log.end();
    question.count = log.size(fork, log.end()).value_or(0) + 1;
    VARVE_TRY(certainly(question));
  }
  for (int i = 0; i < 60; ++i) VARVE_TRY(certainly(draw_question(world, timeline)));
  return Status();
}

}  // namespace varve::scenarios
