"""Batches spread along trees, one for each origin and space, and find another way where a tree is torn. Sans-IO.

As Plumtree (Leitao, Pereira, Rodrigues, SRDS 2007): a batch is pushed on the eager links of its tree, and announced, a
little later and many at once, on some of the others. Who is pushed what it has prunes that link, so that after the
first batches each node is pushed each once. Who is announced what does not come grafts the announcer, which mends the
tree. It begins with a few eager links drawn at random, since each origin has a tree of its own and most write little.

    received ──> push to eager links, announce to lazy ones       repeated  ──> one of the two is told to stop: PRUNE
    have     ──> nothing came in time: the announcer is told to push: GRAFT; then the next; then it is left to sync

Departures from the paper, all because each tree has one origin:

- Eager is a direction. Whom we push to is told so by him, and whom we get it from (`parent`) is not pushed to.
- The parent is never pruned but for a better one, and that at most once in TREE_SETTLE_MS: with many batches under way,
  two links that take turns in being first would else both be pruned, again and again.
- What was announced here by a link is not pushed to it. A link that announces well before the parent brings a batch is
  grafted: if it is as fast as it said it becomes the parent, and if it lied, nothing is lost.

Owns which link is eager for which tree, and what is announced and has not come. Holds no batches, believes nothing
that a peer says about them, and knows no socket and no clock.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from mycelium.config import BATCH_BYTES_MAX, BATCH_CHANGES_HARD_MAX
from mycelium.config.peer import (
    TREE_ANNOUNCERS_MAX,
    TREE_EAGER,
    TREE_EAGER_MAX,
    TREE_FASTER_MS,
    TREE_GATHER_MS,
    TREE_GRAFT_AGAIN_MS,
    TREE_GRAFT_MS,
    TREE_HOPS_MAX,
    TREE_LAZY_MAX,
    TREE_MISSED_MAX,
    TREE_MISSING_MAX,
    TREE_MISSING_PER_LINK_MAX,
    TREE_QUEUED_MAX,
    TREE_RECENT_MAX,
    TREE_RECENT_MS,
    TREE_REFS_MAX,
    TREE_SETTLE_MS,
    TREE_SHY_MS,
    TREES_MAX,
)
from mycelium.peer.treerefs import Effect, Push, Ref, Say, Share, packed
from mycelium.protocol.messages import BatchRefs, Branch, Tree

_OWN: Final = -1
"""Where this node's own batches come from."""
_PATIENCE: Final = 4
"""A large batch is waited for as long as so many transfers of it take: others are sent it before us."""


@dataclass(slots=True)
class _Link:
    """One session. spoke: it has taken part in any tree."""

    share: Share
    spoke: bool = False
    have: dict[Ref, int] = field(default_factory=dict)
    """To be announced, with sizes."""
    wish: dict[Branch, None] = field(default_factory=dict)
    prune: dict[Branch, None] = field(default_factory=dict)
    """To be said with it."""


@dataclass(slots=True)
class _Branches:
    """One tree, here. eager: whom we push to. parent: who pushes to us; missed: batches in a row that others brought.
    shy: links that pruned us, and when: they are grafted last. grafted: whom we grafted last, and when. wished_ms: see
    TREE_FASTER_MS."""

    eager: dict[int, None]
    parent: int = _OWN
    missed: int = 0
    settled_ms: int = 0
    grafted: tuple[int, int] = (_OWN, 0)
    shy: dict[int, int] = field(default_factory=dict)
    wished_ms: int | None = None


@dataclass(slots=True)
class _Recent:
    """A batch that spread through here. given: links that were sent it because they grafted, each once."""

    size: int
    hops: int
    via: int
    at_ms: int
    given: set[int] | None = None


@dataclass(slots=True)
class _Missing:
    """What was announced and has not come. by: who said so first. links: all who said so, in the order in which they
    are asked; asked: those that were."""

    by: int
    share: Share
    size: int
    since_ms: int
    due_ms: int
    links: list[int]
    asked: set[int] = field(default_factory=set)


class Plumtree:
    """One node's share in all trees. A link is any int that the caller chose, never -1; times are of a clock that
    never goes back.

    may_read: whether a link may be sent a space. holds: whether a batch is here by now, in whatever way it came.
    counts: what was not done and why, by name.
    """

    def __init__(
        self,
        may_read: Callable[[int, str], bool],
        holds: Callable[[Ref], bool],
        rng: random.Random,
        uplink_bytes_s: int,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._may_read = may_read
        self._holds = holds
        self._rng = rng
        self.uplink_bytes_s = uplink_bytes_s
        self._links: dict[int, _Link] = {}
        self._trees: OrderedDict[Branch, _Branches] = OrderedDict()
        self._recent: OrderedDict[Ref, _Recent] = OrderedDict()
        self._missing: dict[Ref, _Missing] = {}
        self._timers: list[tuple[int, int, Ref]] = []
        self._turn = 0
        self._flush_ms: int | None = None

    # --- links ------------------------------------------------------------------------------------------

    def link_up(self, link: int, sharing: int | None = None) -> None:
        """A session with a member. It is lazy in the trees that there are, and grafts what it is not sent.

        sharing: another link of that member; what one says is taken off what the other may.
        """
        other = None if sharing is None else self._links.get(sharing)
        self._links[link] = _Link(Share() if other is None else other.share)

    def link_down(self, link: int) -> None:
        """It ended. What it was to bring is asked of the others that announced it."""
        self._links.pop(link, None)
        for tree in self._trees.values():
            tree.eager.pop(link, None)
            tree.shy.pop(link, None)

    def eager(self, branch: Branch) -> tuple[int, ...]:
        """The eager links of a tree; none where there is no such tree."""
        tree = self._trees.get(branch)
        return () if tree is None else tuple(tree.eager)

    def parent(self, branch: Branch) -> int | None:
        """The link that batches of that tree come by; None where there is none."""
        tree = self._trees.get(branch)
        return None if tree is None or tree.parent not in self._links else tree.parent

    @property
    def remembered(self) -> dict[str, int]:
        """How much is kept, by what."""
        return {
            "trees": len(self._trees),
            "recent": len(self._recent),
            "missing": len(self._missing),
            "timers": len(self._timers),
            "queued": sum(len(one.have) + len(one.wish) + len(one.prune) for one in self._links.values()),
        }

    # --- batches ----------------------------------------------------------------------------------------

    def publish(self, ref: Ref, size_bytes: int, now_ms: int) -> list[Push]:
        """A batch of this node's own begins its way."""
        tree = self._tree(ref.branch)
        if not any(self._may_read(link, ref.space) for link in tree.eager):
            tree.eager.update(dict.fromkeys(self._draw(ref.space)))
        self._remember(ref, _Recent(size_bytes, TREE_HOPS_MAX, _OWN, now_ms))
        return self._spread(ref, tree, size_bytes, TREE_HOPS_MAX, (), now_ms)

    def received(self, link: int, ref: Ref, size_bytes: int, hops: int, now_ms: int) -> list[Push]:
        """A batch was pushed by a link, to go on for so many hops, was new here, and was applied."""
        tree = self._tree(ref.branch)
        state = self._links.get(link)
        if state is not None:
            state.spoke = True
            tree.eager.pop(link, None)
            self._brought(tree, link, now_ms)
        hops = max(0, min(hops, TREE_HOPS_MAX) - 1)
        missing = self._missing.pop(ref, None)
        announced: Sequence[int] = ()
        if missing is not None:
            missing.share.waiting -= 1
            announced = missing.links
            self._wish(tree, ref.branch, missing, now_ms)
        self._remember(ref, _Recent(size_bytes, hops, link, now_ms))
        return self._spread(ref, tree, size_bytes, hops, (link, *announced), now_ms)

    def repeated(self, link: int, ref: Ref, now_ms: int) -> None:
        """A batch was pushed by a link, to go on, that was here already."""
        recent, tree = self._recent.get(ref), self._trees.get(ref.branch)
        if recent is None or tree is None or recent.via == link or link not in self._links:
            # It came by sync, or is a second answer of one link.
            return
        first = recent.via
        if first != _OWN and first not in self._links:
            recent.via = link
            self._brought(tree, link, now_ms)
        elif link != tree.parent or first == _OWN:
            self._refuse(link, ref.branch, now_ms)
        elif now_ms - tree.settled_ms < TREE_SETTLE_MS:
            self._refuse(first, ref.branch, now_ms)
        else:
            tree.parent, tree.settled_ms = first, now_ms
            self._refuse(link, ref.branch, now_ms)

    def _brought(self, tree: _Branches, link: int, now_ms: int) -> None:
        """A link brought a batch first. It is the parent where there is none, or none that brings anything."""
        tree.missed = 0 if link == tree.parent else tree.missed + 1
        if tree.parent not in self._links or tree.missed >= TREE_MISSED_MAX:
            tree.parent, tree.missed, tree.settled_ms = link, 0, now_ms

    def unsent(self, link: int, ref: Ref, now_ms: int) -> None:
        """A push found the link's queue full: it is announced, and may be grafted when there is room."""
        recent, state = self._recent.get(ref), self._links.get(link)
        if recent is not None and state is not None:
            if recent.given is not None:
                recent.given.discard(link)
            self._announce(state, ref, recent.size, now_ms)

    def _announce(self, state: _Link, ref: Ref, size: int, now_ms: int) -> None:
        if len(state.have) < TREE_QUEUED_MAX:
            state.have[ref] = size
        self._flush_by(now_ms if len(state.have) >= TREE_REFS_MAX else now_ms + TREE_GATHER_MS)

    def _spread(
        self, ref: Ref, tree: _Branches, size: int, hops: int, having: Collection[int], now_ms: int
    ) -> list[Push]:
        may_read, space = self._may_read, ref.space
        pushed = tuple(link for link in tree.eager if link not in having and may_read(link, space))
        lazy = [
            link
            for link in self._links
            if (link not in tree.eager or not hops) and link not in having and may_read(link, space)
        ]
        if len(lazy) > TREE_LAZY_MAX:
            lazy = self._rng.sample(lazy, TREE_LAZY_MAX)
        for link in lazy:
            self._announce(self._links[link], ref, size, now_ms)
        return [Push(ref, hops, pushed)] if pushed and hops else []

    def _wish(self, tree: _Branches, branch: Branch, missing: _Missing, now_ms: int) -> None:
        """Graft who announced a batch so long before the tree brought it, as it seems to be the shorter way."""
        link = missing.by
        if now_ms - missing.since_ms < TREE_FASTER_MS or missing.asked or link == tree.parent:
            return
        if tree.wished_ms is not None and now_ms - tree.wished_ms < TREE_SHY_MS:
            return
        if link in self._links and not self._is_shy(tree, link, now_ms):
            wish = self._links[link].wish
            if len(wish) < TREE_REFS_MAX:
                tree.wished_ms = now_ms
                wish[branch] = None
                self._flush_by(now_ms)

    # --- what peers say ---------------------------------------------------------------------------------

    def heard(self, link: int, tree: Tree, now_ms: int) -> list[Effect]:
        """A Tree message of a link. Never an error: what is too much, unknown or absurd is passed over and counted."""
        state = self._links.get(link)
        if state is None:
            return []
        state.spoke = True
        effects: list[Effect] = []
        for refs in tree.have:
            if state.share.haves.take(0, now_ms * 1_000_000) > 0:
                self.counts["have-flood"] += len(refs.spans)
                continue
            state.share.haves.take(1 + len(refs.spans), now_ms * 1_000_000)
            for ref in self._refs(refs):
                self._announced(link, state, ref, min(refs.size, BATCH_BYTES_MAX), now_ms)
        for refs in tree.graft:
            effects += self._grafted(link, state, refs, now_ms)
        for branch in tree.prune:
            branches = self._trees.get(branch)
            if branches is not None:
                branches.eager.pop(link, None)
                branches.shy[link] = now_ms
        return effects

    def _refs(self, refs: BatchRefs) -> Iterator[Ref]:
        for first, last in refs.spans:
            if first == 0 or last - first >= BATCH_CHANGES_HARD_MAX:
                self.counts["no-batch"] += 1
            else:
                yield Ref(refs.space, refs.account, refs.generation, first, last)

    def _announced(self, link: int, state: _Link, ref: Ref, size: int, now_ms: int) -> None:
        if ref in self._recent:
            return
        missing = self._missing.get(ref)
        if missing is not None:
            if link in missing.asked:
                # It could not send it then, and says so by this: it may be asked once more, after all others.
                missing.asked.discard(link)
                missing.links = [one for one in missing.links if one != link]
            if link not in missing.links and len(missing.links) < TREE_ANNOUNCERS_MAX:
                missing.links.append(link)
            return
        if state.share.waiting >= TREE_MISSING_PER_LINK_MAX or len(self._missing) >= TREE_MISSING_MAX:
            self.counts["missing-full"] += 1
            return
        state.share.waiting += 1
        missing = self._missing[ref] = _Missing(link, state.share, size, now_ms, 0, [link])
        self._wait(ref, missing, now_ms + TREE_GRAFT_MS)

    def _grafted(self, link: int, state: _Link, refs: BatchRefs, now_ms: int) -> list[Push]:
        branch = Branch(refs.space, refs.account)
        tree = self._trees.get(branch)
        if tree is None or not self._may_read(link, refs.space):
            self.counts["graft-unknown"] += 1
            return []
        tree.shy.pop(link, None)
        if link in tree.eager or len(tree.eager) < TREE_EAGER_MAX:
            tree.eager[link] = None
        else:
            self._refuse(link, branch, now_ms)
        pushes: list[Push] = []
        for ref in self._refs(refs):
            recent = self._recent.get(ref)
            if recent is None:
                self.counts["graft-unknown"] += 1
                continue
            given = recent.given = recent.given or set()
            now_ns = now_ms * 1_000_000
            if (
                link in given
                or state.share.grafts.take(0, now_ns) > 0
                or state.share.graft_bytes.take(0, now_ns) > 0
            ):
                self.counts["graft-flood"] += 1
                continue
            given.add(link)
            state.share.grafts.take(1, now_ns)
            state.share.graft_bytes.take(recent.size, now_ns)
            pushes.append(Push(ref, recent.hops, (link,)))
        return pushes

    # --- time -------------------------------------------------------------------------------------------

    @property
    def due_ms(self) -> int | None:
        """When `tick` has something to do; None while it has nothing."""
        dues = [self._timers[0][0]] if self._timers else []
        if self._flush_ms is not None:
            dues.append(self._flush_ms)
        return min(dues, default=None)

    def tick(self, now_ms: int) -> list[Say]:
        """Time has passed: graft for what has not come, and say what was gathered."""
        grafts: dict[int, list[tuple[Ref, int]]] = {}
        while self._timers and self._timers[0][0] <= now_ms:
            due_ms, _, ref = heapq.heappop(self._timers)
            missing = self._missing.get(ref)
            if missing is None or missing.due_ms != due_ms:
                continue
            link = None if self._holds(ref) else self._whom_to_graft(ref, missing, now_ms)
            if link is None:
                del self._missing[ref]
                missing.share.waiting -= 1
                continue
            missing.asked.add(link)
            grafts.setdefault(link, []).append((ref, missing.size))
            self._wait(ref, missing, now_ms + TREE_GRAFT_AGAIN_MS)
        says = [
            Say((link,), Tree([], part, [])) for link, wanted in grafts.items() for part in packed(wanted)
        ]
        if self._flush_ms is not None and self._flush_ms <= now_ms:
            self._flush_ms = None
            says += self._gathered()
        return says

    def _whom_to_graft(self, ref: Ref, missing: _Missing, now_ms: int) -> int | None:
        left = [link for link in missing.links if link in self._links and link not in missing.asked]
        if not left:
            self.counts["left-to-sync"] += 1
            return None
        tree = self._trees.get(ref.branch)
        if tree is None:
            # Trees are made by batches that proved themselves, and not by what is said of them.
            return left[0]
        grafted, grafted_ms = tree.grafted
        if (
            grafted in self._links
            and grafted not in missing.asked
            and now_ms - grafted_ms < TREE_GRAFT_AGAIN_MS
        ):
            # Who has one of them has those around it too. Many grafts at once would make as many links eager.
            return grafted
        link = min(left, key=lambda one: self._is_shy(tree, one, now_ms))
        tree.grafted = link, now_ms
        return link

    def _gathered(self) -> list[Say]:
        """What each link is to be told; equal messages once, for all that get them."""
        groups: dict[tuple[tuple[Ref, ...], tuple[Branch, ...], tuple[Branch, ...]], list[int]] = {}
        sizes: dict[Ref, int] = {}
        for link, state in self._links.items():
            if state.have or state.wish or state.prune:
                sizes |= state.have
                said = tuple(state.have), tuple(state.wish), tuple(state.prune)
                groups.setdefault(said, []).append(link)
                state.have, state.wish, state.prune = {}, {}, {}
        says = []
        for (have, wish, prune), links in groups.items():
            parts = list(packed([(ref, sizes[ref]) for ref in have])) or [[]]
            wishes = [BatchRefs(branch.space, branch.account, 0, []) for branch in wish]
            if len(have) + len(wish) + len(prune) <= TREE_REFS_MAX:
                trees = [Tree(parts[0], wishes, list(prune))]
            else:
                trees = [Tree(part, [], []) for part in parts]
                trees += [Tree([], wishes, []), Tree([], [], list(prune))]
            says += [Say(tuple(links), tree) for tree in trees if any(tree)]
        return says

    # --- inside -----------------------------------------------------------------------------------------

    def _tree(self, branch: Branch) -> _Branches:
        tree = self._trees.get(branch)
        if tree is None:
            tree = self._trees[branch] = _Branches(dict.fromkeys(self._draw(branch.space)))
            if len(self._trees) > TREES_MAX:
                self._trees.popitem(last=False)
        else:
            self._trees.move_to_end(branch)
        return tree

    def _draw(self, space: str) -> list[int]:
        """Links to begin a tree with: of those that take part in trees, then of all. Who is connected and silent would
        neither prune nor graft, and so keep a place for nothing."""
        links = [link for link in self._links if self._may_read(link, space)]
        self._rng.shuffle(links)
        links.sort(key=lambda link: not self._links[link].spoke)
        return links[:TREE_EAGER]

    def _refuse(self, link: int, branch: Branch, now_ms: int) -> None:
        """Have it push no more of that tree."""
        state = self._links[link]
        if len(state.prune) < TREE_REFS_MAX:
            state.prune[branch] = None
        self._flush_by(now_ms + TREE_GATHER_MS)

    def _remember(self, ref: Ref, recent: _Recent) -> None:
        self._recent[ref] = recent
        oldest_ms = recent.at_ms - TREE_RECENT_MS
        while len(self._recent) > TREE_RECENT_MAX or next(iter(self._recent.values())).at_ms < oldest_ms:
            self._recent.popitem(last=False)

    def _is_shy(self, tree: _Branches, link: int, now_ms: int) -> bool:
        pruned_ms = tree.shy.get(link)
        return pruned_ms is not None and now_ms - pruned_ms < TREE_SHY_MS

    def _wait(self, ref: Ref, missing: _Missing, until_ms: int) -> None:
        missing.due_ms = until_ms + _PATIENCE * missing.size * 1000 // self.uplink_bytes_s
        self._turn += 1
        heapq.heappush(self._timers, (missing.due_ms, self._turn, ref))

    def _flush_by(self, when_ms: int) -> None:
        if self._flush_ms is None or when_ms < self._flush_ms:
            self._flush_ms = when_ms


__all__ = ["Branch", "Effect", "Plumtree", "Push", "Ref", "Say"]
