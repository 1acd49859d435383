package tidemill.golden;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.TimestampedKeyValueStore;
import org.apache.kafka.streams.state.ValueAndTimestamp;
import org.apache.kafka.streams.state.ValueTimestampHeaders;
import org.apache.kafka.streams.state.WindowStore;

/** The contents of the stores at the end. */
final class Stores {
    /** Parts of the names of stores with keys that only Kafka Streams can read. */
    private static final List<String> INTERNAL =
        List.of("OUTERSHARED", "-shared-join", "FK-JOIN-SUBSCRIPTION", "-subscription-store");

    private Stores() {}

    static void write(TopologyTestDriver driver, Map<String, List<Vector.Line>> stores) {
        for (String name : new TreeSet<>(driver.getAllStateStores().keySet())) {
            List<Vector.Line> lines = contents(driver.getAllStateStores().get(name));
            if (lines != null) {
                stores.put(name, lines);
            }
        }
    }

    /** Nothing for stores that are internal or cannot be listed: their changelog says enough. */
    private static List<Vector.Line> contents(StateStore store) {
        if (INTERNAL.stream().anyMatch(store.name()::contains)) {
            return null;
        }
        if (store instanceof TimestampedKeyValueStore<?, ?> table) {
            return lines(table.all());
        }
        if (store instanceof KeyValueStore<?, ?> table) {
            return lines(table.all());
        }
        if (store instanceof WindowStore<?, ?> windows) {
            return lines(windows.all());
        }
        if (store instanceof SessionStore<?, ?> sessions) {
            return lines(sessions.fetch(null, null));
        }
        return null;
    }

    private static <K, V> List<Vector.Line> lines(KeyValueIterator<K, V> entries) {
        try (entries) {
            List<Vector.Line> lines = new ArrayList<>();
            while (entries.hasNext()) {
                KeyValue<K, V> entry = entries.next();
                lines.add(line(entry.key, entry.value));
            }
            return lines;
        }
    }

    private static Vector.Line line(Object key, Object value) {
        Vector.Line line = new Vector.Line();
        if (key instanceof Windowed<?> windowed) {
            line.bytes(Values.bytes(windowed.key()));
            line.number(windowed.window().start()).number(windowed.window().end());
        } else {
            line.bytes(Values.bytes(key));
        }
        if (value instanceof ValueAndTimestamp<?> stamped) {
            return line.bytes(Values.bytes(stamped.value())).number(stamped.timestamp());
        }
        // what the stores of stream-stream joins give out here, though they hold values only
        Object plain = value instanceof ValueTimestampHeaders<?> held ? held.value() : value;
        return line.bytes(Values.bytes(plain));
    }
}
