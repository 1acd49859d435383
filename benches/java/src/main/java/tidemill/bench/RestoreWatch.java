package tidemill.bench;

import java.util.Map;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.processor.StateRestoreListener;

/** Counts restored records and the time in which at least one store was being restored. */
final class RestoreWatch implements StateRestoreListener {
    private final Reporter reporter;
    private long restored;
    private long finishedMs;
    private long activeSince;
    private int active;

    RestoreWatch(Reporter reporter) {
        this.reporter = reporter;
    }

    /** Records restored since the program started. */
    synchronized long restored() {
        return restored;
    }

    /** Milliseconds spent restoring, a restore still under way included. */
    synchronized long elapsedMs() {
        return active == 0 ? finishedMs : finishedMs + Reporter.uptime() - activeSince;
    }

    @Override
    public synchronized void onRestoreStart(
            TopicPartition partition, String store, long startingOffset, long endingOffset) {
        if (active++ == 0) {
            activeSince = Reporter.uptime();
        }
        reporter.event("restore_start", Map.of(
                "partition", partition, "from", startingOffset, "to", endingOffset));
    }

    @Override
    public synchronized void onBatchRestored(
            TopicPartition partition, String store, long batchEndOffset, long numRestored) {
        restored += numRestored;
    }

    @Override
    public synchronized void onRestoreEnd(
            TopicPartition partition, String store, long totalRestored) {
        finished("restore_end", partition, totalRestored);
    }

    @Override
    public synchronized void onRestoreSuspended(
            TopicPartition partition, String store, long totalRestored) {
        finished("restore_suspended", partition, totalRestored);
    }

    private void finished(String event, TopicPartition partition, long totalRestored) {
        if (--active == 0) {
            finishedMs += Reporter.uptime() - activeSince;
        }
        reporter.event(event, Map.of(
                "partition", partition,
                "records", totalRestored,
                "restored", restored,
                "restore_ms", elapsedMs()));
    }
}
