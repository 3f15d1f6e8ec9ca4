// The rules one by one, by hand: each test is a sentence of the protocol. What happens when they
// meet is the explorer's matter.
#include <gtest/gtest.h>

#include "consensus/core/acceptor.h"
#include "consensus/core/proposer.h"

namespace varve::consensus {
namespace {

constexpr Lsn kStart{0x1000000};

Membership three() {
  Membership m;
  m.generation = Configuration(1);
  for (uint64_t i = 1; i <= 3; ++i) m.members.push_back({NodeId(i), "", 0});
  return m;
}

constexpr ServerInfo kServer{150000, 1, 1 << 24};

// An acceptor whose disk is this test: effects wait in `pending` until run().
struct Bench {
  Acceptor core{AcceptorState::create({}, NodeId(1), three(), kServer, kStart), kStart};
  std::vector<AcceptorEffect> pending;
  std::vector<AcceptorEffect> out;  // sends and refusals
  AcceptorState disk = core.state();
  Lsn record_end = kStart;  // what writes are reported with, unless they end lower

  void step(const AcceptorInput& input) {
    std::vector<AcceptorEffect> effects;
    core.step(input, effects);
    for (auto& effect : effects) {
      const bool disk_effect = effect.number != 0;
      (disk_effect ? pending : out).push_back(std::move(effect));
    }
  }
  void message(uint64_t connection, ProposerMessage m) {
    step(MessageIn{ConnectionId{connection}, std::move(m)});
  }
  void run_one() {
    ASSERT_FALSE(pending.empty());
    const AcceptorEffect effect = pending.front();
    pending.erase(pending.begin());
    if (const auto* persist = std::get_if<PersistEffect>(&effect.what)) disk = persist->state;
    if (const auto* write = std::get_if<WriteEffect>(&effect.what)) {
      if (!partial) record_end = write->end;
    }
    if (const auto* cut = std::get_if<TruncateEffect>(&effect.what)) record_end = cut->at;
    step(EffectDone{effect.number, record_end});
  }
  void run() {
    while (!pending.empty()) run_one();
  }
  template <class T>
  const T* last() const {
    if (out.empty()) return nullptr;
    const auto* send = std::get_if<SendEffect>(&out.back().what);
    return send == nullptr ? nullptr : std::get_if<T>(&send->message);
  }
  std::optional<Refusal> refusal() const {
    if (out.empty()) return std::nullopt;
    const auto* refuse = std::get_if<RefuseEffect>(&out.back().what);
    return refuse == nullptr ? std::nullopt : std::optional(refuse->reason);
  }
  void greet(uint64_t connection) { message(connection, ProposerGreeting{{}, three(), kServer}); }
  // Greeting, vote and elected of the proposer of `term`.
  void lead(uint64_t connection, Term term) {
    greet(connection);
    message(connection, VoteRequest{Configuration(1), term});
    run();
    TermHistory history = core.state().history.up_to(core.flush());
    if (history.last().term < term) history = history.extended(term, core.flush());
    message(connection, ProposerElected{Configuration(1), term, core.flush(), history});
    run();
    out.clear();
  }
  void append(uint64_t connection, Term term, Lsn begin, Lsn end, Lsn commit = Lsn()) {
    message(connection, AppendRequest{Configuration(1), term, begin, end, commit, Lsn()});
  }

  bool partial = false;  // writes end inside a record
};

TEST(Acceptor, AVoteLeavesAfterItsTermIsDurable) {
  Bench bench;
  bench.greet(1);
  bench.out.clear();
  bench.message(1, VoteRequest{Configuration(1), Term(5)});
  EXPECT_TRUE(bench.out.empty());
  EXPECT_EQ(bench.disk.term, Term(0));
  bench.run();
  ASSERT_NE(bench.last<VoteResponse>(), nullptr);
  EXPECT_TRUE(bench.last<VoteResponse>()->granted);
  EXPECT_EQ(bench.disk.term, Term(5));
  // The same term again, and a lower one, after a restart too.
  Bench restarted;
  restarted.core = Acceptor(bench.disk, kStart);
  restarted.greet(1);
  restarted.message(1, VoteRequest{Configuration(1), Term(5)});
  EXPECT_FALSE(restarted.last<VoteResponse>()->granted);
  restarted.message(1, VoteRequest{Configuration(1), Term(4)});
  EXPECT_FALSE(restarted.last<VoteResponse>()->granted);
  EXPECT_EQ(restarted.last<VoteResponse>()->term, Term(5));
}

TEST(Acceptor, AVoteSyncsWhatIsPendingFirst) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.append(1, Term(1), kStart, kStart + 64);
  bench.append(1, Term(1), kStart + 64, kStart + 128);
  bench.greet(2);
  bench.message(2, VoteRequest{Configuration(1), Term(2)});
  bench.run();
  ASSERT_NE(bench.last<VoteResponse>(), nullptr);
  EXPECT_EQ(bench.last<VoteResponse>()->flush, kStart + 128);
  // The old proposer is told, and writes no more.
  bench.append(1, Term(1), kStart + 128, kStart + 192);
  ASSERT_NE(bench.last<AppendResponse>(), nullptr);
  EXPECT_EQ(*bench.last<AppendResponse>(), (AppendResponse{{}, Term(2), {}, {}, {}, {}}));
  EXPECT_TRUE(bench.pending.empty());
}

TEST(Acceptor, AVoteThatWasOvertakenIsNotGranted) {
  Bench bench;
  bench.greet(1);
  bench.greet(2);
  bench.out.clear();
  bench.message(1, VoteRequest{Configuration(1), Term(1)});
  bench.message(2, VoteRequest{Configuration(1), Term(2)});
  bench.run();
  ASSERT_EQ(bench.out.size(), 2u);
  const auto first = std::get<VoteResponse>(std::get<SendEffect>(bench.out[0].what).message);
  const auto second = std::get<VoteResponse>(std::get<SendEffect>(bench.out[1].what).message);
  EXPECT_FALSE(first.granted);
  EXPECT_EQ(first.term, Term(2));
  EXPECT_TRUE(second.granted);
}

TEST(Acceptor, AppendsShareASync) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.append(1, Term(1), kStart, kStart + 8);
  EXPECT_EQ(bench.pending.size(), 2u);
  bench.append(1, Term(1), kStart + 8, kStart + 16);
  bench.append(1, Term(1), kStart + 16, kStart + 24);
  EXPECT_EQ(bench.pending.size(), 4u) << "the writes behind a running sync wait for the next";
  bench.run_one();
  bench.run_one();
  ASSERT_NE(bench.last<AppendResponse>(), nullptr);
  EXPECT_EQ(bench.last<AppendResponse>()->flush, kStart + 8);
  EXPECT_EQ(bench.pending.size(), 3u);
  bench.run();
  EXPECT_EQ(bench.last<AppendResponse>()->flush, kStart + 24);
}

TEST(Acceptor, FlushIsTheEndOfACompleteRecord) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.partial = true;
  bench.append(1, Term(1), kStart, kStart + 64);
  bench.run();
  EXPECT_EQ(bench.last<AppendResponse>()->flush, kStart);
  EXPECT_EQ(bench.core.write_position(), kStart + 64);
  bench.partial = false;
  bench.append(1, Term(1), kStart + 64, kStart + 128);
  bench.run();
  EXPECT_EQ(bench.last<AppendResponse>()->flush, kStart + 128);
}

// Hole 8: the same proposer on a new connection finds half a record behind the durable end.
TEST(Acceptor, ReconnectionInTheSameTermCutsHalfARecord) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.partial = true;
  bench.append(1, Term(1), kStart, kStart + 64);
  bench.run();
  bench.partial = false;
  bench.greet(2);
  bench.message(2, VoteRequest{Configuration(1), Term(1)});
  EXPECT_FALSE(bench.last<VoteResponse>()->granted);
  EXPECT_EQ(bench.last<VoteResponse>()->flush, kStart);
  // What still arrives on the old connection is refused from here on.
  bench.append(1, Term(1), kStart + 64, kStart + 72);
  EXPECT_EQ(bench.refusal(), Refusal::kNotElected);
  bench.message(2, ProposerElected{Configuration(1), Term(1), kStart, bench.core.state().history});
  bench.run();
  EXPECT_EQ(bench.core.write_position(), kStart);
  bench.append(2, Term(1), kStart, kStart + 128);
  bench.run();
  EXPECT_EQ(bench.last<AppendResponse>()->flush, kStart + 128);
}

TEST(Acceptor, WritesNothingBeforeItWasCut) {
  Bench bench;
  bench.greet(1);
  bench.message(1, VoteRequest{Configuration(1), Term(1)});
  bench.run();
  bench.append(1, Term(1), kStart, kStart + 8);
  EXPECT_EQ(bench.refusal(), Refusal::kNotElected);
  bench.append(1, Term(2), kStart, kStart + 8);
  EXPECT_EQ(bench.refusal(), Refusal::kNotElected);
  EXPECT_TRUE(bench.pending.empty());
}

TEST(Acceptor, RefusesGapsAndOverlaps) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.append(1, Term(1), kStart, kStart + 64);
  bench.run();
  bench.append(1, Term(1), kStart + 72, kStart + 80);
  EXPECT_EQ(bench.refusal(), Refusal::kNotAtWritePosition);
  bench.append(1, Term(1), kStart + 56, kStart + 80);
  EXPECT_EQ(bench.refusal(), Refusal::kNotAtWritePosition);
}

TEST(Acceptor, CommitNeverPassesItsOwnLogNorFallsBack) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.append(1, Term(1), kStart, kStart + 64, kStart + 1000);
  EXPECT_EQ(bench.core.commit(), kStart);
  bench.run();
  EXPECT_EQ(bench.core.commit(), kStart + 64);
  bench.append(1, Term(1), kStart + 64, kStart + 64, kStart);
  EXPECT_EQ(bench.core.commit(), kStart + 64);
}

// What lets a proposer stop once a quorum has told it its commit position.
TEST(Acceptor, CommitThatReachesTheTermsStartIsPersistedBeforeTheReply) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.append(1, Term(1), kStart, kStart + 64);
  bench.run();
  bench.lead(2, Term(2));  // starts at kStart + 64
  bench.append(2, Term(2), kStart + 64, kStart + 64, kStart + 64);
  EXPECT_TRUE(bench.out.empty());
  ASSERT_EQ(bench.pending.size(), 1u);
  bench.run();
  EXPECT_EQ(bench.disk.commit, kStart + 64);
  EXPECT_EQ(bench.last<AppendResponse>()->commit, kStart + 64);
}

TEST(Acceptor, NeverCutsBelowItsCommit) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.append(1, Term(1), kStart, kStart + 64);
  bench.run();
  bench.append(1, Term(1), kStart + 64, kStart + 64, kStart + 64);
  bench.run();
  bench.greet(2);
  bench.message(2, VoteRequest{Configuration(1), Term(2)});
  bench.run();
  const TermHistory rival({{Term(0), kStart}, {Term(2), kStart + 8}});
  bench.message(2, ProposerElected{Configuration(1), Term(2), kStart + 8, rival});
  EXPECT_EQ(bench.refusal(), Refusal::kStartMismatch);
  bench.message(2, ProposerElected{Configuration(1), Term(2), kStart, rival});
  EXPECT_EQ(bench.refusal(), Refusal::kBelowCommit);
  const TermHistory fork({{Term(0), kStart}, {Term(1), kStart}, {Term(2), kStart + 8}});
  bench.message(2, ProposerElected{Configuration(1), Term(2), kStart + 8, fork});
  EXPECT_EQ(bench.refusal(), Refusal::kBelowCommit);
}

TEST(Acceptor, TheControlFileStopsVouchingBeforeTheCut) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.append(1, Term(1), kStart, kStart + 64);
  bench.run();
  bench.step(SaveState{});
  bench.run();
  EXPECT_EQ(bench.disk.flush, kStart + 64);
  bench.greet(2);
  bench.message(2, VoteRequest{Configuration(1), Term(2)});
  bench.run();
  const TermHistory fork({{Term(0), kStart}, {Term(1), kStart}, {Term(2), kStart + 8}});
  bench.message(2, ProposerElected{Configuration(1), Term(2), kStart + 8, fork});
  ASSERT_EQ(bench.pending.size(), 3u);
  bench.run_one();
  EXPECT_EQ(bench.disk.flush, kStart + 8);
  EXPECT_NE(bench.disk.history, fork) << "the new history only after the cut";
  bench.run();
  EXPECT_EQ(bench.disk.history, fork);
}

TEST(Acceptor, TakesANewerMembershipFromTheGreetingDurably) {
  Bench bench;
  Membership newer = three();
  newer.generation = Configuration(2);
  newer.members.push_back({NodeId(4), "", 0});
  bench.message(1, ProposerGreeting{{}, newer, kServer});
  EXPECT_TRUE(bench.out.empty());
  bench.run();
  EXPECT_EQ(bench.disk.membership, newer);
  EXPECT_EQ(bench.last<AcceptorGreeting>()->membership, newer);
  bench.message(1, VoteRequest{Configuration(1), Term(1)});
  EXPECT_EQ(bench.refusal(), Refusal::kOtherGeneration);
  newer.generation = Configuration(3);
  newer.members.erase(newer.members.begin());
  bench.message(2, ProposerGreeting{{}, newer, kServer});
  EXPECT_EQ(bench.refusal(), Refusal::kNotAMember);
}

TEST(Acceptor, RefusesAnotherTimelineAndAnotherServer) {
  Bench bench;
  TenantTimelineId other;
  other.tenant.bytes[0] = 1;
  bench.message(1, ProposerGreeting{other, three(), kServer});
  EXPECT_EQ(bench.refusal(), Refusal::kOtherTimeline);
  bench.message(1, ProposerGreeting{{}, three(), {160000, 1, 1 << 24}});
  EXPECT_EQ(bench.refusal(), Refusal::kOtherServer);
  bench.message(1, VoteRequest{Configuration(1), Term(1)});
  EXPECT_EQ(bench.refusal(), Refusal::kGreetingFirst);
}

TEST(Acceptor, ATermBumpFencesWhoStreams) {
  Bench bench;
  bench.lead(1, Term(1));
  bench.step(BumpTerm{Term(4)});
  bench.run();
  EXPECT_EQ(bench.disk.term, Term(4));
  bench.append(1, Term(1), kStart, kStart + 8);
  EXPECT_EQ(bench.last<AppendResponse>()->term, Term(4));
  EXPECT_TRUE(bench.pending.empty());
}

TEST(Acceptor, StatesAreValues) {
  Bench bench;
  bench.lead(1, Term(1));
  const Acceptor before = bench.core;
  bench.append(1, Term(1), kStart, kStart + 8);
  EXPECT_FALSE(before == bench.core);
  Writer a;
  Writer b;
  before.encode(a);
  Acceptor copy = before;
  copy.encode(b);
  EXPECT_EQ(a.take(), b.take());
}

// ---- proposer

struct Campaign {
  Proposer core{ProposerConfig{{}, three(), kServer}};
  std::vector<ProposerEffect> effects;

  void step(const ProposerInput& input) { core.step(input, effects); }
  void greet(uint64_t node, Term term) {
    step(MemberConnected{NodeId(node)});
    step(MemberMessage{NodeId(node), AcceptorGreeting{NodeId(node), three(), term}});
  }
  void vote(uint64_t node, Lsn flush, TermHistory history, bool granted = true) {
    VoteResponse m{Configuration(1), core.term(), granted, flush, Lsn(), std::move(history)};
    step(MemberMessage{NodeId(node), m});
  }
  void acknowledge(uint64_t node, Lsn flush) {
    step(MemberMessage{NodeId(node),
                       AppendResponse{Configuration(1), core.term(), flush, {}, {}, {}}});
  }
  template <class T>
  const T* last() const {
    const T* found = nullptr;
    for (const ProposerEffect& effect : effects) {
      if (const auto* e = std::get_if<T>(&effect)) found = e;
    }
    return found;
  }
  void drain() {
    for (uint64_t node = 1; node <= 3; ++node) {
      while (core.next_append(NodeId(node))) {
      }
    }
  }
};

const TermHistory kOld({{Term(0), kStart}, {Term(1), kStart}});

// Members 1 and 2 have voted; the log of 2 is longer.
Campaign elected() {
  Campaign c;
  c.greet(1, Term(1));
  c.greet(2, Term(3));
  c.vote(1, kStart + 64, kOld);
  c.vote(2, kStart + 128, kOld);
  return c;
}

TEST(Proposer, TakesOneAboveTheHighestTermOfAQuorum) {
  Campaign c;
  c.greet(1, Term(7));
  EXPECT_EQ(c.core.phase(), ProposerPhase::kCollecting);
  c.greet(2, Term(3));
  EXPECT_EQ(c.core.phase(), ProposerPhase::kCampaign);
  EXPECT_EQ(c.core.term(), Term(8));
}

TEST(Proposer, TheDonorHasTheNewestTermThenTheLongestLog) {
  Campaign c;
  c.greet(1, Term(2));
  c.greet(2, Term(2));
  c.vote(1, kStart + 640, kOld);
  c.vote(2, kStart + 64, TermHistory({{Term(0), kStart}, {Term(2), kStart + 64}}));
  EXPECT_EQ(c.core.donor(), NodeId(2));
  EXPECT_EQ(c.core.term_start(), kStart + 64);
  EXPECT_EQ(c.core.history().last(), (TermStart{Term(3), kStart + 64}));
}

// Hole 6: below its own start a proposer has nothing; the bytes come from the donor.
TEST(Proposer, FeedsALaggardFromTheDonorAndNeverAcrossTheTermsStart) {
  Campaign c = elected();
  c.step(WalAvailable{kStart + 200});
  const auto first = c.core.next_append(NodeId(1));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->begin, kStart + 64);
  EXPECT_EQ(first->end, kStart + 128);
  EXPECT_FALSE(c.core.source_of(NodeId(1), first->begin).local);
  EXPECT_EQ(c.core.source_of(NodeId(1), first->begin).holders, std::vector{NodeId(2)});
  const auto second = c.core.next_append(NodeId(1));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->begin, kStart + 128);
  EXPECT_TRUE(c.core.source_of(NodeId(1), second->begin).local);
}

TEST(Proposer, NothingOfAnOlderTermIsCommittedByCounting) {
  Campaign c = elected();
  c.drain();
  c.acknowledge(2, kStart + 128);
  c.acknowledge(1, kStart + 96);
  EXPECT_EQ(c.core.commit(), Lsn());
  c.acknowledge(1, kStart + 128);
  EXPECT_EQ(c.core.commit(), kStart + 128);
  ASSERT_NE(c.last<Committed>(), nullptr);
  EXPECT_TRUE(c.core.has_append(NodeId(1))) << "members are told, with an empty append";
}

// The same messages with the rule left out: the bug that takes three terms and hours of exploration
// to become a lost commit is visible here at once.
TEST(Proposer, ThePlantedBugThatCountsCopiesCommitsTooEarly) {
  Rules rules;
  rules.commit_by_counting = true;
  Campaign c;
  c.core = Proposer(ProposerConfig{{}, three(), kServer}, rules);
  c.greet(1, Term(1));
  c.greet(2, Term(3));
  c.vote(1, kStart + 64, kOld);
  c.vote(2, kStart + 128, kOld);
  c.drain();
  c.acknowledge(2, kStart + 128);
  c.acknowledge(1, kStart + 96);
  EXPECT_EQ(c.core.commit(), kStart + 96);
}

TEST(Proposer, WhatAVoteSaidIsNoAcknowledgement) {
  Campaign c = elected();
  c.drain();
  c.acknowledge(2, kStart + 128);
  EXPECT_EQ(c.core.commit(), Lsn());
}

TEST(Proposer, AMemberThatLeftStillCounts) {
  Campaign c = elected();
  c.step(WalAvailable{kStart + 200});
  c.drain();
  c.acknowledge(2, kStart + 200);
  c.step(MemberDisconnected{NodeId(2)});
  c.acknowledge(1, kStart + 200);
  EXPECT_EQ(c.core.commit(), kStart + 200);
}

TEST(Proposer, ARefusedVoteClosesItForEver) {
  Campaign c;
  c.greet(1, Term(1));
  c.greet(2, Term(1));
  c.vote(1, kStart, kOld, false);
  ASSERT_NE(c.last<Closed>(), nullptr);
  EXPECT_EQ(c.last<Closed>()->reason, CloseReason::kVoteRefused);
  c.effects.clear();
  c.greet(1, Term(1));
  EXPECT_TRUE(c.effects.empty());
}

TEST(Proposer, AHigherTermAnywhereClosesItForEver) {
  Campaign c = elected();
  c.drain();
  c.step(MemberMessage{NodeId(1), AppendResponse{{}, Term(9), {}, {}, {}, {}}});
  ASSERT_NE(c.last<Closed>(), nullptr);
  EXPECT_EQ(c.last<Closed>()->term, Term(9));
  c.acknowledge(2, kStart + 128);
  EXPECT_EQ(c.core.commit(), Lsn());
  EXPECT_FALSE(c.core.has_append(NodeId(2)));
}

TEST(Proposer, DropsAMemberThatAcknowledgesWhatItWasNotSent) {
  Campaign c = elected();
  c.drain();
  c.acknowledge(2, kStart + 1000);
  ASSERT_NE(c.last<DropMember>(), nullptr);
  EXPECT_EQ(c.last<DropMember>()->node, NodeId(2));
}

TEST(Proposer, AJointMembershipNeedsBothQuorums) {
  Membership joint = three();
  for (uint64_t i = 4; i <= 6; ++i) joint.new_members.push_back({NodeId(i), "", 0});
  const auto positions = [](NodeId node) { return Lsn(node.value <= 3 ? 100 : node.value); };
  EXPECT_EQ(joint.quorum_position(positions), Lsn(5));
  EXPECT_FALSE(joint.has_quorum([](NodeId node) { return node.value <= 3; }));
  EXPECT_TRUE(joint.has_quorum([](NodeId node) { return node.value >= 2 && node.value <= 5; }));
}

TEST(Proposer, AdoptsANewerMembershipOnlyBeforeItsCampaign) {
  Campaign c;
  Membership newer = three();
  newer.generation = Configuration(2);
  newer.members[2].node = NodeId(9);
  c.step(MemberConnected{NodeId(1)});
  c.step(MemberMessage{NodeId(1), AcceptorGreeting{NodeId(1), newer, Term(1)}});
  ASSERT_NE(c.last<MembershipAdopted>(), nullptr);
  EXPECT_EQ(c.core.membership(), newer);
  EXPECT_EQ(c.core.members()[2].member.node, NodeId(9));

  Campaign late = elected();
  late.step(MemberConnected{NodeId(3)});
  late.step(MemberMessage{NodeId(3), AcceptorGreeting{NodeId(3), newer, Term(1)}});
  ASSERT_NE(late.last<Closed>(), nullptr);
  EXPECT_EQ(late.last<Closed>()->reason, CloseReason::kOtherGeneration);
}

TEST(HighestCommonPoint, WhereHistoriesPart) {
  const auto at = [](uint64_t offset) { return kStart + offset; };
  const TermHistory proposer({{Term(1), at(0)}, {Term(2), at(100)}, {Term(5), at(300)}});
  // A prefix: as far as the member has it, not beyond where the proposer moved on.
  EXPECT_EQ(highest_common_point(proposer, TermHistory({{Term(1), at(0)}}), at(50)), at(50));
  EXPECT_EQ(highest_common_point(proposer, TermHistory({{Term(1), at(0)}}), at(150)), at(100));
  // A fork: where either moved on first.
  const TermHistory fork({{Term(1), at(0)}, {Term(3), at(80)}});
  EXPECT_EQ(highest_common_point(proposer, fork, at(500)), at(80));
  const TermHistory late_fork({{Term(1), at(0)}, {Term(3), at(180)}});
  EXPECT_EQ(highest_common_point(proposer, late_fork, at(500)), at(100));
  // The proposer's own term: all of it.
  EXPECT_EQ(highest_common_point(proposer, proposer, at(420)), at(420));
  EXPECT_EQ(highest_common_point(proposer, TermHistory(), at(0)), at(0));
  // One term, two beginnings: no honest peer.
  EXPECT_EQ(highest_common_point(proposer, TermHistory({{Term(1), at(8)}}), at(50)), std::nullopt);
}

}  // namespace
}  // namespace varve::consensus
