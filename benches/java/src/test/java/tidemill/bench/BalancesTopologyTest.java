package tidemill.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.TopologyTestDriver;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Both forms of the job on Kafka Streams' own test driver, and the bytes they exchange. */
class BalancesTopologyTest {
    @TempDir Path stateDir;

    @Test
    void keyedAndRekeyedFormsPublishTheSameBalances() {
        Map<String, String> expected = Map.of(
                "a", "{\"account_id\":\"a\",\"balance\":\"-3.20\",\"transactions\":2}",
                "b", "{\"account_id\":\"b\",\"balance\":\"0.05\",\"transactions\":1}");
        assertEquals(expected, run(false));
        assertEquals(expected, run(true));
    }

    private Map<String, String> run(boolean repartition) {
        Options options = options();
        LongAdder processed = new LongAdder();
        var topology = BalancesTopology.build(options.topics(), repartition, processed);
        String described = topology.describe().toString();
        assertEquals(repartition, described.contains("balances-store-repartition"));
        try (var driver = new TopologyTestDriver(topology, options.streams())) {
            var input = driver.createInputTopic(
                    "transactions", new StringSerializer(), new StringSerializer());
            for (String[] each : List.of(
                    new String[] {"a", "deposit", "10"},
                    new String[] {"b", "deposit", "0.05"},
                    new String[] {"a", "withdrawal", "13.2"})) {
                input.pipeInput(repartition ? null : each[0], transaction(each));
            }
            assertEquals(3, processed.sum());
            return driver.createOutputTopic(
                            "balances", new StringDeserializer(), new StringDeserializer())
                    .readKeyValuesToMap();
        }
    }

    private Options options() {
        return Options.parse(new String[] {
            "--bootstrap-servers", "127.0.0.1:1", "--application-id", "test",
            "--state-dir", stateDir.toString()
        });
    }

    private static String transaction(String[] each) {
        return "{\"id\":\"t\",\"account_id\":\"%s\",\"type\":\"%s\",\"amount\":\"%s\"}"
                .formatted((Object[]) each);
    }

    @Test
    void theStoreHoldsMinorUnits() {
        byte[] bytes = Json.balances().serializer().serialize("", new Balance(-320, 17));
        assertEquals(
                "{\"balance\":-320,\"transactions\":17}",
                new String(bytes, StandardCharsets.UTF_8));
        assertEquals(new Balance(-320, 17), Json.balances().deserializer().deserialize("", bytes));
    }

    @Test
    void invalidTransactionsAreRefused() {
        String max = Long.toString(Long.MAX_VALUE);
        for (String amount : List.of("", ".", "1.", ".5", "1.234", "-1", "+1", "1e3", max)) {
            refused(transaction(new String[] {"a", "deposit", amount}));
        }
        refused(transaction(new String[] {"a", "gift", "1"}));
        refused("{}");
        refused("[]");
        refused("{\"id\":1}");
        refused(transaction(new String[] {"a", "deposit", "1"}) + "x");
    }

    private static void refused(String json) {
        byte[] bytes = json.getBytes(StandardCharsets.UTF_8);
        var reader = Json.transactions().deserializer();
        assertThrows(SerializationException.class, () -> reader.deserialize("", bytes), json);
    }

    @Test
    void amountsKeepTwoFractionDigits() {
        assertEquals("-0.20", Money.format(-20));
        assertEquals("12.05", Money.format(1205));
        assertEquals("0.00", Money.format(0));
        assertEquals("-92233720368547758.08", Money.format(Long.MIN_VALUE));
        assertTrue(Money.format(Long.MAX_VALUE).endsWith("58.07"));
        assertFalse(Money.format(1).startsWith("-"));
    }
}
