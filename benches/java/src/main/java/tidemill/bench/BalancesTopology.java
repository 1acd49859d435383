package tidemill.bench;

import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/** The balances job: transactions in, one balance per account out. */
final class BalancesTopology {
    /** Name of the store; its changelog is {@code <application id>-balances-store-changelog}. */
    static final String STORE = "balances-store";

    private BalancesTopology() {}

    /**
     * Builds the topology.
     *
     * @param repartition true: the input's key is ignored and the stream is re-keyed by
     *     {@code account_id}, so a repartition topic stands between two sub-topologies; false: the
     *     input's key already is the account
     * @param processed counts the records taken from the input topic
     */
    static Topology build(Options.Topics topics, boolean repartition, LongAdder processed) {
        StreamsBuilder builder = new StreamsBuilder();
        var values = Json.countedTransactions(processed);
        KStream<String, Long> changes = repartition
                ? builder.stream(topics.input(), Consumed.with(Serdes.ByteArray(), values))
                        .map((key, each) -> KeyValue.pair(each.accountId(), each.change()))
                : builder.stream(topics.input(), Consumed.with(Serdes.String(), values))
                        .mapValues(Transaction::change);
        changes
                .groupByKey(Grouped.with(Serdes.String(), Serdes.Long()))
                .aggregate(
                        () -> Balance.EMPTY,
                        (account, change, balance) -> balance.apply(change),
                        Materialized.<String, Balance, KeyValueStore<Bytes, byte[]>>as(STORE)
                                .withKeySerde(Serdes.String())
                                .withValueSerde(Json.balances()))
                .toStream()
                .mapValues(AccountBalance::new)
                .to(topics.output(), Produced.with(Serdes.String(), Json.accountBalances()));
        return builder.build();
    }
}
