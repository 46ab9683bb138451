//! A buffer of encoded bytes that leave as frames. Its blocks are reused.

use std::{collections::VecDeque, mem};

use bytes::{Bytes, BytesMut};

/// The size in bytes at which a frame is full, so that no more events are merged into it.
///
/// Larger frames save too little per event to justify their memory.
pub(crate) const BUDGET: usize = 32 * 1024;

/// The size in bytes from which a piece leaves uncopied, even among other events.
///
/// Such a piece makes two frames: the bytes before it, and itself. A limit of twice the budget
/// keeps the number of frames at `ceil(bytes / BUDGET)`.
pub(crate) const LARGE: usize = 2 * BUDGET;

/// The smallest block, in bytes. It holds about ten small events. Ten thousand sparse streams can
/// afford one each.
const MIN_BLOCK: usize = 2 * 1024;

/// The largest block, in bytes: the budget, and room for the event that exceeds it.
const MAX_BLOCK: usize = BUDGET + 2048;

/// The number of spent blocks that are kept for reuse: as many as hyper's write queue can hold.
const MAX_SPENT: usize = 16;

/// The number of spent blocks that an idle stream keeps: one, which the connection may still hold.
const IDLE_SPENT: usize = 1;

/// The spare capacity, in bytes, that a stream may keep beyond its last frame.
///
/// Larger blocks are freed. A stream that once sent a large event then uses no more memory than
/// any other stream. The tests in `tests/costs/large_events.rs` allow 4 KiB. Half a KiB of that is
/// for the bookkeeping of `bytes` and of the queues.
const SLACK: usize = 4 * 1024 - 512;

/// The size of a block: `MIN_BLOCK` times 1, 2, 4 or 8, or `MAX_BLOCK`.
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

/// Recent block sizes. All are the smallest class as long as events are small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sizes {
    /// The size of the last frame that was a block.
    last: SizeClass,
    /// The size of the next block: the smaller of the last two frames. A single large event among
    /// small ones is then followed by a small block.
    next: SizeClass,
    /// The size of the largest block that is kept, including the current one.
    kept: SizeClass,
}

/// Encoded bytes that are waiting to become frames.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// An encoded event that leaves uncopied if no other bytes follow it. While it is not empty,
    /// `block` is empty.
    lone: Bytes,
    /// The block that is written to. Its bytes come after those of the chunks.
    block: BytesMut,
    /// `None` until a queue is needed, because an idle stream should be small.
    queues: Option<Box<Queues>>,
    sizes: Sizes,
    /// Set if one of `sizes` is not the smallest class.
    grew: bool,
    /// Set if there are chunks.
    has_chunks: bool,
    /// Set if the block begins with the rest of an event whose beginning has left.
    torn: bool,
    /// Set by an item after which its source ends early.
    ends_early: Option<EndEarly>,
}

/// The reason for which a source ends although it is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(feature = "hub"),
    allow(dead_code, reason = "only a hub ends its streams early")
)]
pub(crate) enum EndEarly {
    /// The client read too slowly.
    Lagged,
    /// The source can yield no more.
    Failed,
    /// The server closed the source.
    Closed,
}

#[derive(Debug, Default)]
struct Queues {
    /// Complete frames. Not empty only while one of them is a large piece.
    chunks: VecDeque<Bytes>,
    /// Blocks whose bytes were handed out, oldest first. A block is reused once the connection has
    /// dropped its frames.
    spent: VecDeque<BytesMut>,
}

impl Output {
    /// Creates an output whose first block has this capacity, in bytes.
    #[cfg(feature = "hub")]
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            block: BytesMut::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Swaps the block with the caller's buffer. A second call swaps them back.
    #[inline]
    pub(crate) fn swap_block(&mut self, buffer: &mut BytesMut) {
        mem::swap(&mut self.block, buffer);
    }

    /// Begins an item. Returns the length of the block, for [`roll_back`](Self::roll_back) if the
    /// item fails.
    #[inline]
    pub(crate) fn begin(&mut self) -> usize {
        if !self.lone.is_empty() {
            self.settle();
        }
        self.block.len()
    }

    /// Returns the block, with room for at least `additional` bytes.
    #[inline]
    pub(crate) fn room(&mut self, additional: usize) -> &mut BytesMut {
        if self.block.capacity() - self.block.len() < additional || !self.lone.is_empty() {
            self.make_room(additional);
        }
        &mut self.block
    }

    /// Adds bytes that are whole lines.
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

    /// Adds the bytes that [`push`](Self::push) cannot simply copy into the block.
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

    /// Takes the next frame if nothing more will be written. No block is kept for reuse.
    pub(crate) fn pop_rest(&mut self) -> Option<Bytes> {
        if self.has_chunks || self.block.is_empty() {
            return self.pop();
        }
        Some(mem::take(&mut self.block).freeze())
    }

    /// Frees the memory of the blocks when the stream becomes idle.
    pub(crate) fn release(&mut self) {
        if self.block.is_empty() && !self.has_chunks {
            self.block = BytesMut::new();
            self.queues = None;
        }
    }

    /// Frees the spent blocks that only a constantly busy stream reuses.
    #[inline]
    pub(crate) fn trim_spent(&mut self) {
        match &mut self.queues {
            Some(queues) if queues.spent.len() > IDLE_SPENT => {
                queues.spent.truncate(IDLE_SPENT);
                queues.spent.shrink_to_fit();
            }
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_empty() && self.lone.is_empty() && !self.has_chunks
    }

    /// Returns whether a frame must leave before more is encoded.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= BUDGET || self.has_chunks
    }

    /// Returns whether there are complete frames before the block.
    pub(crate) fn has_chunks(&self) -> bool {
        self.has_chunks
    }

    /// Returns whether the block begins with the rest of an event whose beginning has left.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Returns the number of waiting bytes that later bytes can join in a frame.
    pub(crate) fn waiting(&self) -> usize {
        self.lone.len() + self.block.len()
    }

    /// Discards the bytes after this length: those of an item that panicked.
    #[cold]
    pub(crate) fn truncate(&mut self, length: usize) {
        if self.len() > length {
            self.join();
            self.block = BytesMut::from(&self.block[..length]);
        }
    }

    /// Returns the number of waiting bytes.
    pub(crate) fn len(&self) -> usize {
        let queues = self.queues.as_ref();
        let chunks = queues.map_or(0, |queues| queues.chunks.iter().map(Bytes::len).sum());
        chunks + self.lone.len() + self.block.len()
    }

    /// Records that the source will end early.
    #[cfg(any(feature = "hub", test))]
    pub(crate) fn end_early(&mut self, why: EndEarly) {
        self.ends_early = Some(why);
    }

    /// Returns the reason if an item recorded that the source will end early.
    pub(crate) fn ends_early(&self) -> Option<EndEarly> {
        self.ends_early
    }

    /// Moves all waiting bytes into the block.
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

    /// Takes all waiting bytes, in one piece.
    pub(crate) fn take_all(&mut self) -> BytesMut {
        self.join();
        mem::take(&mut self.block)
    }

    /// Returns all waiting bytes, in one piece that can be shared.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if !self.has_chunks && self.block.is_empty() {
            return mem::take(&mut self.lone);
        }
        self.take_all().freeze()
    }

    /// Moves `lone` to a chunk or into the block, because more bytes will follow it.
    #[cold]
    fn settle(&mut self) {
        let lone = mem::take(&mut self.lone);
        if lone.len() >= LARGE {
            self.push_chunk(lone);
        } else {
            self.room(lone.len()).extend_from_slice(&lone);
        }
    }

    /// Removes the bytes of an item that failed. The block had this length before it.
    ///
    /// An item that can fail begins without chunks, because with chunks the output is full.
    #[cold]
    pub(crate) fn roll_back(&mut self, length: usize) {
        self.lone = Bytes::new();
        let made = match &mut self.queues {
            Some(queues) if self.has_chunks => &mut queues.chunks,
            _ => return self.block.truncate(length),
        };
        // The first chunk begins with the bytes that the block held before the item.
        self.block.clear();
        self.block.extend_from_slice(&made[0][..length]);
        made.clear();
        self.has_chunks = false;
    }

    #[cold]
    fn make_room(&mut self, additional: usize) {
        if !self.lone.is_empty() {
            self.settle();
        }
        if !self.block.is_empty() {
            // The smallest block grows to 12 KiB, and then to the largest size. Blocks that grow
            // by powers of two have the same offset in their pages, for which a copy with
            // `rep movsb` is slow on Zen 3 (glibc bug 30994).
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

    /// Records the size of a frame, and returns whether the current block is too large for it. Frees
    /// the spent blocks if they may be larger than its class.
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
            queues.spent.clear(); // the current block alone may exceed the frame by the slack
        }
        outgrows
    }

    /// Keeps the block, whose bytes were handed out, for reuse.
    fn retire_block(&mut self) {
        let block = mem::take(&mut self.block);
        if block.capacity() > 0 {
            self.queues().spent.push_back(block);
        }
    }
}
