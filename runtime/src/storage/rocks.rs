//! What all databases of a process share, and the options they are opened with.

use std::num::NonZeroU32;
use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Env, InfoLogger, LogLevel,
    Options, WriteBufferManager,
};
use tracing::{debug, error, warn};

use super::StorageError;

/// Bytes of one block of a table file: small enough for point reads, large enough to compress.
const BLOCK_BYTES: usize = 16 << 10;
/// Bits per key of the Bloom filters: 1 % false positives.
const BLOOM_BITS: f64 = 10.0;
/// Bytes of one store's write buffer before it is flushed, if the shared bound does not ask first.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// Write buffers of one store: one is written to while the others are flushed.
const WRITE_BUFFERS: i32 = 3;
/// What a write buffer grows by; small, because there is one for each store of each task.
const ARENA_BLOCK_BYTES: usize = 128 << 10;
/// Files not yet compacted at which writes are slowed down, and stopped: above what a bulk load
/// leaves, for a stopped write holds up a worker.
const FRESH_FILES_SLOW: i32 = 2 * FRESH_FILES_BULK;
const FRESH_FILES_STOP: i32 = 4 * FRESH_FILES_BULK;
/// Files not yet compacted at which a bulk load compacts after all, so that reads after it do not
/// have to look into hundreds.
const FRESH_FILES_BULK: i32 = 32;
const FRESH_FILES_NORMAL: i32 = 4;
/// Bytes of log that opening a task may have to replay.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// Table files that one task keeps open.
const OPEN_FILES_MAX: i32 = 256;

/// One block cache, one bound on write buffers and one pool of background threads for all
/// databases of a process. Cloning is cheap.
#[derive(Clone)]
pub struct SharedRocks {
    cache: Cache,
    write_buffers: WriteBufferManager,
    env: Env,
    background_threads: i32,
}

impl std::fmt::Debug for SharedRocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedRocks")
            .field("cache_bytes", &self.cache_bytes())
            .field("write_buffer_bytes", &self.write_buffer_bytes())
            .field("background_threads", &self.background_threads)
            .finish()
    }
}

impl SharedRocks {
    /// Makes a block cache of `block_cache_bytes`. Write buffers may take `write_buffer_bytes`
    /// before they are flushed; what they do not take is lent to the cache, so that both together
    /// are bounded by the sum. `background_threads` flush and compact.
    ///
    /// # Errors
    /// If RocksDB can't use the operating system's files and threads.
    pub fn new(
        block_cache_bytes: usize,
        write_buffer_bytes: usize,
        background_threads: NonZeroU32,
    ) -> Result<Self, StorageError> {
        let background_threads = i32::try_from(background_threads.get()).unwrap_or(i32::MAX);
        // few shards, and each large enough for the filter of a table file: with an LRU cache of as
        // many bytes, filters were evicted by each other and a read took 90 us instead of 10
        let bytes = block_cache_bytes.saturating_add(write_buffer_bytes);
        let cache = Cache::new_hyper_clock_cache(bytes, 0);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            write_buffer_bytes,
            // a commit that waits for a flush would hold up its worker: the bound is a soft one
            false,
            cache.clone(),
        );
        let mut env = Env::new().map_err(StorageError::rocks("prepare", Path::new("RocksDB")))?;
        env.set_background_threads(background_threads);
        env.set_high_priority_background_threads(1);
        Ok(Self { cache, write_buffers, env, background_threads })
    }

    /// Returns the bytes that the block cache holds, write buffers included.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    /// Returns the bytes that all write buffers hold.
    #[must_use]
    pub fn write_buffer_bytes(&self) -> usize {
        self.write_buffers.get_usage()
    }

    /// Options of the database of a task, and of its family `default`.
    pub(super) fn database_options(&self, path: &Path) -> Options {
        let mut options = self.family_options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_env(&self.env);
        options.set_write_buffer_manager(&self.write_buffers);
        options.set_max_background_jobs(self.background_threads.saturating_add(1));
        // all families of a task go to disk together: contents never without their checkpoint,
        // even where the log was skipped, and no log outlives the flush
        options.set_atomic_flush(true);
        // a torn or damaged log ends at its last whole batch, which is an earlier commit
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_max_total_wal_size(WAL_BYTES_MAX);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_paranoid_checks(true);
        options.set_bytes_per_sync(1 << 20);
        options.set_avoid_unnecessary_blocking_io(true);
        // there is one writer
        options.set_allow_concurrent_memtable_write(false);
        options.set_enable_write_thread_adaptive_yield(false);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_info_logger(logger(path));
        options
    }

    /// Options of the family of a store.
    pub(super) fn family_options(&self) -> Options {
        let mut options = Options::default();
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_block_size(BLOCK_BYTES);
        table.set_bloom_filter(BLOOM_BITS, false);
        table.set_optimize_filters_for_memory(true);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_write_buffer_number(WRITE_BUFFERS);
        options.set_arena_block_size(ARENA_BLOCK_BYTES);
        options.set_level_zero_file_num_compaction_trigger(FRESH_FILES_NORMAL);
        options.set_level_zero_slowdown_writes_trigger(FRESH_FILES_SLOW);
        options.set_level_zero_stop_writes_trigger(FRESH_FILES_STOP);
        options
    }
}

/// What changes while a large gap is restored: writes wait for nothing, compaction comes seldom.
pub(super) fn bulk_options(bulk: bool) -> [(&'static str, String); 3] {
    let (compact, slow, stop) = if bulk {
        (FRESH_FILES_BULK, i32::MAX, i32::MAX)
    } else {
        (FRESH_FILES_NORMAL, FRESH_FILES_SLOW, FRESH_FILES_STOP)
    };
    [
        ("level0_file_num_compaction_trigger", compact.to_string()),
        ("level0_slowdown_writes_trigger", slow.to_string()),
        ("level0_stop_writes_trigger", stop.to_string()),
    ]
}

/// Hands RocksDB's own log to `tracing` instead of files beside the data.
fn logger(path: &Path) -> InfoLogger {
    let path = path.display().to_string();
    InfoLogger::new_callback_logger(LogLevel::Warn, move |level, text| {
        let text = text.trim_end();
        match level {
            // RocksDB sends the hundreds of lines of its header whatever the level
            LogLevel::Debug | LogLevel::Info | LogLevel::Header => {
                debug!(path, "rocksdb: {text}");
            }
            LogLevel::Warn => warn!(path, "rocksdb: {text}"),
            LogLevel::Error | LogLevel::Fatal => error!(path, "rocksdb: {text}"),
        }
    })
}
