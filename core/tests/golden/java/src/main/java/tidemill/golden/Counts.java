package tidemill.golden;

import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.processor.StateStore;

/** Counts are numbers, whatever else the types of a scenario are. */
final class Counts {
    private Counts() {}

    @SuppressWarnings({"unchecked", "rawtypes"})
    static <S extends StateStore> Materialized<Object, Long, S> of(
            Materialized<Object, Object, S> store) {
        return (Materialized) store;
    }
}
