//! Where encoded bytes wait to become frames: one block at a time, blocks reused.

use std::{collections::VecDeque, mem};

use bytes::{Bytes, BytesMut};

/// How many bytes a frame holds before no more events are merged into it.
///
/// 32 KiB is where merging has nothing more to give: a write of 8 KiB frames costs 33 ns per
/// event of 167 B, of 32 KiB 28 ns, of 64 KiB 27 ns.
pub(crate) const BUDGET: usize = 32 * 1024;

/// From which size on bytes are handed over uncopied also among others.
///
/// Such a piece makes two frames, itself and what stood before it. Twice the budget keeps the
/// number of frames at `ceil(bytes / BUDGET)`.
pub(crate) const LARGE: usize = 2 * BUDGET;

/// The smallest block: ten events or so, and what ten thousand sparse streams can afford.
const MIN_BLOCK: usize = 2 * 1024;

/// The largest block: the budget, and room for the event that exceeds it.
const MAX_BLOCK: usize = BUDGET + 2048;

/// How many blocks that were handed out are remembered: as many as hyper's write queue can hold.
const MAX_SPENT: usize = 16;

/// The number of spent blocks that an idle stream keeps: the one that the connection may still hold,
/// and one that it has dropped.
const IDLE_SPENT: usize = 2;

/// Spare capacity, in bytes, that a stream may keep beyond its last frame. Larger blocks are freed,
/// so that a stream that once sent a large event holds what any other stream holds.
///
/// Half a KiB below the 4 KiB that are promised, for the bookkeeping of `bytes` and of the queues.
const SLACK: usize = 4 * 1024 - 512;

/// The size of a block: `MIN_BLOCK`, twice, four or eight times that, or `MAX_BLOCK`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct SizeClass(u8);

impl SizeClass {
    const LARGEST: u8 = 4;

    /// Returns the smallest class whose block holds this many bytes, or the largest class.
    fn of(bytes: usize) -> Self {
        let blocks = bytes.clamp(MIN_BLOCK, MAX_BLOCK).div_ceil(MIN_BLOCK);
        let class = blocks.next_power_of_two().trailing_zeros() as u8;
        Self(class.min(Self::LARGEST))
    }

    fn bytes(self) -> usize {
        match self.0 {
            Self::LARGEST => MAX_BLOCK,
            class => MIN_BLOCK << class,
        }
    }
}

/// Recent block sizes. All are the smallest class while events are small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sizes {
    /// Of the last frame that was a block.
    last: SizeClass,
    /// Of the next block: the lesser of the last two frames', so that one large event among small
    /// ones is followed by a small block.
    next: SizeClass,
    /// Of the largest block that is kept, the one that is written to among them.
    kept: SizeClass,
}

/// Encoded bytes on their way to frames.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// An encoded event that may yet leave uncopied, if it stays alone. While it is not empty,
    /// the block is.
    lone: Bytes,
    /// What is written to. Its bytes come after those of the chunks.
    block: BytesMut,
    /// `None` where both are empty: an idle stream should be small.
    queues: Option<Box<Queues>>,
    sizes: Sizes,
    /// One of the sizes is not the smallest.
    grew: bool,
    /// There are chunks.
    has_chunks: bool,
    /// The block begins with the rest of an event whose beginning has left.
    torn: bool,
}

#[derive(Debug, Default)]
struct Queues {
    /// Frames that are complete. Not empty only while there is a large piece among them.
    chunks: VecDeque<Bytes>,
    /// Blocks whose bytes were handed out, the oldest first: written to again once the
    /// connection has dropped its frames.
    spent: VecDeque<BytesMut>,
}

/// Where an item begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    chunks: usize,
    length: usize,
}

impl Output {
    /// With a first block for so many bytes.
    #[cfg(feature = "hub")]
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            block: BytesMut::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Puts the caller's buffer in the place of the block, or the block back in the caller's.
    #[inline]
    pub(crate) fn swap_block(&mut self, buffer: &mut BytesMut) {
        mem::swap(&mut self.block, buffer);
    }

    /// Says that an item begins: where to [`roll_back`](Self::roll_back) to if it fails.
    #[inline]
    pub(crate) fn begin(&mut self) -> Mark {
        if !self.lone.is_empty() {
            self.settle();
        }
        Mark {
            chunks: self.chunks(),
            length: self.block.len(),
        }
    }

    /// The block, with room for `additional` bytes.
    #[inline]
    pub(crate) fn room(&mut self, additional: usize) -> &mut BytesMut {
        if self.block.capacity() - self.block.len() < additional || !self.lone.is_empty() {
            self.make_room(additional);
        }
        &mut self.block
    }

    /// Adds bytes that are whole by themselves.
    #[inline]
    pub(crate) fn push(&mut self, bytes: Bytes) {
        let room = self.block.capacity() - self.block.len();
        let joins = self.lone.is_empty() && !self.block.is_empty() && bytes.len() < LARGE;
        if joins && bytes.len() <= room {
            self.block.extend_from_slice(&bytes);
        } else {
            self.push_apart(bytes);
        }
    }

    /// The same, where a block must be made first, or none.
    fn push_apart(&mut self, bytes: Bytes) {
        if !self.lone.is_empty() {
            self.settle();
        }
        if self.block.is_empty() {
            self.lone = bytes;
        } else if bytes.len() >= LARGE {
            self.push_large(bytes);
        } else {
            self.room(bytes.len()).extend_from_slice(&bytes);
        }
    }

    /// Adds bytes as a frame of their own.
    pub(crate) fn push_large(&mut self, bytes: Bytes) {
        if !self.block.is_empty() {
            let block = self.take_block();
            self.push_chunk(block);
        }
        self.push_chunk(bytes);
    }

    fn push_chunk(&mut self, bytes: Bytes) {
        self.has_chunks = true;
        self.queues().chunks.push_back(bytes);
    }

    fn queues(&mut self) -> &mut Queues {
        self.queues.get_or_insert_default()
    }

    /// How many chunks there are.
    fn chunks(&self) -> usize {
        match &self.queues {
            Some(queues) if self.has_chunks => queues.chunks.len(),
            _ => 0,
        }
    }

    /// Takes the next frame.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if self.has_chunks {
            self.torn = !self.block.is_empty();
            let chunks = &mut self.queues().chunks;
            let chunk = chunks.pop_front();
            let has_more = !chunks.is_empty();
            if !has_more && chunks.capacity() > MAX_SPENT {
                *chunks = VecDeque::new();
            }
            self.has_chunks = has_more;
            return chunk;
        }
        self.torn = false;
        if !self.lone.is_empty() {
            Some(mem::take(&mut self.lone))
        } else if !self.block.is_empty() {
            Some(self.take_block())
        } else {
            None
        }
    }

    /// Takes the next frame where nothing more will be written, and so no block is kept.
    pub(crate) fn pop_rest(&mut self) -> Option<Bytes> {
        if self.has_chunks || self.block.is_empty() {
            return self.pop();
        }
        Some(mem::take(&mut self.block).freeze())
    }

    /// Gives back what the blocks hold of memory; for a stream that has become idle.
    pub(crate) fn release(&mut self) {
        if self.block.is_empty() && !self.has_chunks {
            self.block = BytesMut::new();
            self.queues = None;
        }
    }

    /// Frees the blocks that only a constantly busy stream reuses.
    #[inline]
    pub(crate) fn trim_spent(&mut self) {
        match &mut self.queues {
            Some(queues) if queues.spent.len() > IDLE_SPENT => queues.spent.truncate(IDLE_SPENT),
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_empty() && self.lone.is_empty() && !self.has_chunks
    }

    /// Whether there is a frame that must leave before more is encoded.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= BUDGET || self.has_chunks
    }

    /// Whether frames are complete that stand before the block.
    pub(crate) fn has_chunks(&self) -> bool {
        self.has_chunks
    }

    /// Whether what waits is the rest of an event whose beginning has left.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Returns the number of waiting bytes that later ones can join.
    pub(crate) fn waiting(&self) -> usize {
        self.lone.len() + self.block.len()
    }

    /// Discards bytes beyond this length: those of an item that panicked.
    #[cold]
    pub(crate) fn truncate(&mut self, length: usize) {
        if self.len() > length {
            self.join();
            self.block = BytesMut::from(&self.block[..length]);
        }
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        let queues = self.queues.as_ref();
        let chunks = queues.map_or(0, |queues| queues.chunks.iter().map(Bytes::len).sum());
        chunks + self.lone.len() + self.block.len()
    }

    /// Brings all that waits together in the block.
    #[inline]
    pub(crate) fn join(&mut self) {
        if !self.lone.is_empty() || self.has_chunks {
            self.join_pieces();
        }
    }

    #[cold]
    fn join_pieces(&mut self) {
        let mut all = BytesMut::with_capacity(self.len());
        while let Some(bytes) = self.pop() {
            all.extend_from_slice(&bytes);
        }
        self.block = all;
    }

    /// Takes all that was encoded, in one piece.
    pub(crate) fn take_all(&mut self) -> BytesMut {
        self.join();
        mem::take(&mut self.block)
    }

    /// All that was encoded, in one piece that is not written to any more.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if !self.has_chunks && self.block.is_empty() {
            return mem::take(&mut self.lone);
        }
        self.take_all().freeze()
    }

    /// What was alone is no longer: it goes before what is written next.
    #[cold]
    fn settle(&mut self) {
        let lone = mem::take(&mut self.lone);
        if lone.len() >= LARGE {
            self.push_chunk(lone);
        } else {
            self.room(lone.len()).extend_from_slice(&lone);
        }
    }

    /// Undoes what an item wrote that failed.
    #[cold]
    pub(crate) fn roll_back(&mut self, Mark { chunks, length }: Mark) {
        self.lone = Bytes::new();
        let made = match &mut self.queues {
            Some(queues) if queues.chunks.len() > chunks => &mut queues.chunks,
            _ => return self.block.truncate(length),
        };
        // The first chunk that it made begins with what was in the block before it.
        self.block.clear();
        if length > 0 {
            self.block.extend_from_slice(&made[chunks][..length]);
        }
        made.truncate(chunks);
        self.has_chunks = chunks > 0;
    }

    #[cold]
    fn make_room(&mut self, additional: usize) {
        if !self.lone.is_empty() {
            self.settle();
        }
        if !self.block.is_empty() {
            // From the smallest block over one of 12 KiB to the largest. Powers of two would lie
            // at the same place in their pages, where a copy with `rep movsb` is slow on Zen 3
            // (glibc's bug 30994).
            let length = self.block.len();
            let growth = (5 * length).min(MAX_BLOCK.saturating_sub(length));
            return self.block.reserve(growth.max(additional));
        }
        self.retire_block();
        let size = additional.max(self.sizes.next.bytes());
        let mut reclaimed = false;
        if let Some(Queues { spent, .. }) = self.queues.as_deref_mut() {
            let oldest = spent.front_mut();
            reclaimed = oldest.is_some_and(|oldest| oldest.try_reclaim(size));
            if reclaimed || spent.len() > MAX_SPENT {
                self.block = spent.pop_front().unwrap_or_default();
            }
        }
        if !reclaimed {
            self.block = BytesMut::with_capacity(size);
        }
    }

    fn take_block(&mut self) -> Bytes {
        if (self.block.capacity() > MIN_BLOCK || self.grew) && self.note_frame_size() {
            return mem::take(&mut self.block).freeze();
        }
        let block = self.block.split().freeze();
        let next = self.sizes.next.bytes();
        if self.block.capacity() < block.len().next_power_of_two().min(next) {
            self.retire_block();
        }
        block
    }

    /// Records the size of a frame. Returns whether the blocks have become too large, and forgets the
    /// spent ones if so.
    #[inline(never)]
    fn note_frame_size(&mut self) -> bool {
        let capacity = self.block.capacity();
        let class = SizeClass::of(self.block.len());
        let kept = self.sizes.kept.max(SizeClass::of(capacity));
        let excess = kept.bytes().saturating_sub(class.bytes());
        let outgrows = capacity > MAX_BLOCK + SLACK || excess > SLACK;
        self.sizes = Sizes {
            last: class,
            next: class.min(self.sizes.last),
            kept: if outgrows { SizeClass::default() } else { kept },
        };
        self.grew = self.sizes != Sizes::default();
        if let Some(queues) = self.queues.as_mut().filter(|_| excess > 0 || outgrows) {
            // Beside the block that is written to, as many as the excess allows.
            let blocks = if outgrows { 0 } else { SLACK / excess - 1 };
            queues.spent.truncate(blocks);
        }
        outgrows
    }

    /// Puts the block, whose bytes were handed out, aside.
    fn retire_block(&mut self) {
        let block = mem::take(&mut self.block);
        if block.capacity() > 0 {
            self.queues().spent.push_back(block);
        }
    }
}
