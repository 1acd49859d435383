package tidemill.golden;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.TimestampedKeyValueStore;
import org.apache.kafka.streams.state.ValueAndTimestamp;
import org.apache.kafka.streams.state.WindowStore;

/** The contents of the stores at the end. */
final class Stores {
    private Stores() {}

    static void write(TopologyTestDriver driver, Map<String, List<Vector.Line>> stores) {
        for (String name : new TreeSet<>(driver.getAllStateStores().keySet())) {
            List<Vector.Line> lines = contents(driver.getAllStateStores().get(name));
            if (lines != null) {
                stores.put(name, lines);
            }
        }
    }

    /** Nothing for stores that only Kafka Streams itself can read: their changelog says enough. */
    private static List<Vector.Line> contents(StateStore store) {
        if (store instanceof TimestampedKeyValueStore<?, ?> table) {
            return lines(table.all());
        }
        if (store instanceof KeyValueStore<?, ?> table && !store.name().contains("OUTERSHARED")
                && !store.name().contains("-outer-shared-join")
                && !store.name().contains("-left-shared-join")
                && !store.name().contains("-FK-JOIN-SUBSCRIPTION-")) {
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

    private static <K, V> List<Vector.Line> lines(Iterator<KeyValue<K, V>> entries) {
        List<Vector.Line> lines = new ArrayList<>();
        while (entries.hasNext()) {
            KeyValue<K, V> entry = entries.next();
            Vector.Line line = new Vector.Line();
            if (entry.key instanceof Windowed<?> windowed) {
                line.bytes(Values.bytes(windowed.key()));
                line.number(windowed.window().start()).number(windowed.window().end());
            } else {
                line.bytes(Values.bytes(entry.key));
            }
            if (entry.value instanceof ValueAndTimestamp<?> stamped) {
                line.bytes(Values.bytes(stamped.value())).number(stamped.timestamp());
            } else {
                line.bytes(Values.bytes(entry.value));
            }
            lines.add(line);
        }
        if (entries instanceof AutoCloseable iterator) {
            try {
                iterator.close();
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        }
        return lines;
    }
}
