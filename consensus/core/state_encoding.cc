#include "consensus/core/state_encoding.h"

#include <algorithm>

namespace varve::consensus {

void encode_history(Writer& writer, const TermHistory& history) {
  writer.le(static_cast<uint32_t>(history.size()));
  for (const TermStart& entry : history.entries()) {
    writer.le(entry.term.value);
    writer.le(entry.start.value);
  }
}

void encode_members(Writer& writer, const std::vector<Member>& members, const View& view) {
  std::vector<Member> renamed = members;
  for (Member& member : renamed) member.node = view.node(member.node);
  std::sort(renamed.begin(), renamed.end());
  writer.le(static_cast<uint32_t>(renamed.size()));
  for (const Member& member : renamed) {
    writer.le(member.node.value);
    writer.cstring(member.host);
    writer.le(member.port);
  }
}

}  // namespace varve::consensus
