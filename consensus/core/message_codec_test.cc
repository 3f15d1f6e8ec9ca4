// Messages survive the wire, and bytes that are no message are refused without reading past their
// end.
#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include "base/random.h"
#include "consensus/core/message_codec.h"

namespace varve::consensus {
namespace {

// One draw seeds everything: shrinking a message field by field would only make the test slow.
struct Draw {
  explicit Draw(uint64_t seed) : random(seed, "messages") {}
  RandomStream random;

  Lsn lsn() {
    const uint64_t shift = random.below(60);
    return Lsn(random.next() >> shift);
  }
  Term term() { return Term(random.below(1000)); }
  Configuration generation() { return Configuration(random.below(1 << 20)); }
  std::vector<Member> members(uint64_t base, uint64_t most) {
    std::vector<Member> members;
    const uint64_t count = random.below(most + 1);
    for (uint64_t i = 0; i < count; ++i) {
      Member member;
      member.node = NodeId(base + i);
      member.host.assign(random.below(20), 'h');
      member.port = static_cast<uint16_t>(random.below(65536));
      members.push_back(std::move(member));
    }
    return members;
  }
  Membership membership() {
    Membership m;
    m.members = members(1, 5);
    if (m.members.empty()) return m;
    m.generation = generation();
    m.new_members = members(100, 5);
    return m;
  }
  TermHistory history(Term last) {
    std::vector<TermStart> entries;
    Lsn at(random.below(1000));
    for (uint64_t t = random.below(3); t < last.value; t += 1 + random.below(300)) {
      entries.push_back({Term(t), at});
      if (random.chance(500000)) at = at + random.below(1000);
    }
    entries.push_back({last, at});
    return TermHistory(std::move(entries));
  }
  PageserverFeedback feedback() {
    PageserverFeedback f;
    f.timeline_size = random.next();
    f.received = lsn();
    f.disk_consistent = lsn();
    f.remote_consistent = lsn();
    f.reply_time.microseconds = static_cast<int64_t>(random.next());
    f.shard = static_cast<uint32_t>(random.below(3));
    f.corruption_detected = random.chance(500000);
    return f;
  }
  ProposerMessage proposer_message(size_t kind) {
    switch (kind) {
      case 0: {
        ProposerGreeting m;
        for (uint8_t& byte : m.id.tenant.bytes) byte = static_cast<uint8_t>(random.next());
        for (uint8_t& byte : m.id.timeline.bytes) byte = static_cast<uint8_t>(random.next());
        m.membership = membership();
        m.server = {150000 + static_cast<uint32_t>(random.below(20)), 0, 1u << 24};
        m.server.system_id = random.next();
        return m;
      }
      case 1: {
        const Configuration g = generation();
        return VoteRequest{g, term()};
      }
      case 2: {
        ProposerElected m;
        m.generation = generation();
        m.term = term();
        m.start = lsn();
        m.history = history(m.term);
        return m;
      }
      default: {
        AppendRequest m;
        m.generation = generation();
        m.term = term();
        m.begin = Lsn(random.below(1u << 30));
        m.end = m.begin;
        if (!random.chance(333333)) m.end = m.end + random.below(kMaxAppendBytes);
        m.commit = lsn();
        m.truncate = lsn();
        return m;
      }
    }
  }
  AcceptorMessage acceptor_message(size_t kind) {
    switch (kind) {
      case 0: {
        AcceptorGreeting m;
        m.node = NodeId(random.next());
        m.membership = membership();
        m.term = term();
        return m;
      }
      case 1: {
        VoteResponse m;
        m.generation = generation();
        m.term = term();
        m.granted = random.chance(500000);
        m.flush = lsn();
        m.truncate = lsn();
        if (random.chance(800000)) m.history = history(term());
        return m;
      }
      default: {
        AppendResponse m;
        m.generation = generation();
        m.term = term();
        m.flush = lsn();
        m.commit = lsn();
        m.standby.time.microseconds = static_cast<int64_t>(random.next());
        m.standby.xmin = random.next();
        m.standby.catalog_xmin = random.next();
        if (random.chance(500000)) m.pageserver = feedback();
        return m;
      }
    }
  }
};

std::vector<uint8_t> frame_of(const ProposerMessage& message) {
  std::vector<uint8_t> frame = encode(message);
  if (const auto* append = std::get_if<AppendRequest>(&message)) {
    frame.insert(frame.end(), append->end - append->begin, 0x5A);
  }
  return frame;
}

RC_GTEST_PROP(MessageCodec, RoundTrips, (uint64_t seed)) {
  Draw draw(seed);
  for (size_t kind = 0; kind < 4; ++kind) {
    const ProposerMessage message = draw.proposer_message(kind);
    const auto frame = frame_of(message);
    const auto decoded = decode_proposer_message(frame);
    RC_ASSERT(decoded.ok());
    RC_ASSERT(decoded->message == message);
    RC_ASSERT(decoded->wal.size() == frame.size() - encode(message).size());
  }
  for (size_t kind = 0; kind < 3; ++kind) {
    const AcceptorMessage message = draw.acceptor_message(kind);
    const auto frame = encode(message);
    const auto decoded = decode_acceptor_message(frame);
    RC_ASSERT(decoded.ok());
    RC_ASSERT(*decoded == message);
  }
}

// A frame cut anywhere is refused, but for an append reply cut exactly where its feedback begins.
RC_GTEST_PROP(MessageCodec, RefusesWhatIsCutOrTooLong, (uint64_t seed)) {
  Draw draw(seed);
  const ProposerMessage message = draw.proposer_message(draw.random.below(4));
  auto frame = frame_of(message);
  const size_t cut = draw.random.below(frame.size());
  RC_ASSERT(!decode_proposer_message(std::span(frame).first(cut)).ok());
  frame.push_back(0);
  RC_ASSERT(!decode_proposer_message(frame).ok());

  const AcceptorMessage reply = draw.acceptor_message(draw.random.below(3));
  auto reply_frame = encode(reply);
  const size_t reply_cut = draw.random.below(reply_frame.size());
  const auto decoded = decode_acceptor_message(std::span(reply_frame).first(reply_cut));
  RC_ASSERT(!decoded.ok() || reply_cut == 1 + 4 + 8 * 6);
  reply_frame.push_back(7);
  RC_ASSERT(!decode_acceptor_message(reply_frame).ok());
}

// Any byte may be anything: the answer is a message that encodes to itself again, or an error.
RC_GTEST_PROP(MessageCodec, HostileBytesAreRefusedOrMeanSomething, (uint64_t seed)) {
  Draw draw(seed);
  auto frame = frame_of(draw.proposer_message(draw.random.below(4)));
  for (uint64_t flips = 1 + draw.random.below(4); flips > 0; --flips) {
    const size_t at = draw.random.below(std::min<size_t>(frame.size(), 100));
    frame[at] = static_cast<uint8_t>(draw.random.next());
  }
  const auto decoded = decode_proposer_message(frame);
  if (decoded.ok()) {
    RC_ASSERT(encode(decoded->message).size() + decoded->wal.size() == frame.size());
  }
  auto reply = encode(draw.acceptor_message(draw.random.below(3)));
  const size_t at = draw.random.below(reply.size());
  reply[at] = static_cast<uint8_t>(draw.random.next());
  (void)decode_acceptor_message(reply).ok();
}

TEST(MessageCodec, BytesAreThoseOfTheProtocol) {
  const auto vote = encode(ProposerMessage(VoteRequest{Configuration(2), Term(7)}));
  const std::vector<uint8_t> expected = {'v', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7};
  EXPECT_EQ(vote, expected);
  AppendResponse stale;
  stale.term = Term(9);
  EXPECT_EQ(encode(AcceptorMessage(stale)).size(), 1u + 4 + 8 * 6);
}

TEST(MessageCodec, UnknownFeedbackKeysAreSkipped) {
  Writer writer;
  writer.u8(2);
  writer.cstring("from_the_future");
  writer.be(int32_t{3});
  writer.text("abc");
  writer.cstring("remote_consistent_lsn");
  writer.be(int32_t{8});
  writer.be(uint64_t{42});
  Reader reader(writer.span());
  const auto feedback = decode_feedback(reader);
  ASSERT_TRUE(feedback.ok());
  EXPECT_EQ(feedback->remote_consistent, Lsn(42));
}

TEST(MessageCodec, NamesWhatIsWrong) {
  auto frame = encode(ProposerMessage(AppendRequest{{}, Term(1), Lsn(8), Lsn(16), {}, {}}));
  const auto decoded = decode_proposer_message(frame);
  ASSERT_FALSE(decoded.ok());
  EXPECT_TRUE(decoded.status().is(Code::kInvalid));
  EXPECT_NE(decoded.status().message().find("wrong length"), std::string::npos);
}

}  // namespace
}  // namespace varve::consensus
