// Writes the topology descriptions of Kafka Streams that tests/dsl_describe.rs compares with.
import java.nio.file.*;
import java.util.*;
import java.util.function.*;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.processor.api.*;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.*;

public class Describe {
    static Map<String, Consumer<StreamsBuilder>> all = new LinkedHashMap<>();
    static Consumed<String,String> c() { return Consumed.with(Serdes.String(), Serdes.String()); }
    static Produced<String,String> p() { return Produced.with(Serdes.String(), Serdes.String()); }
    static Produced<String,Long> pl() { return Produced.with(Serdes.String(), Serdes.Long()); }
    static Grouped<String,String> g() { return Grouped.with(Serdes.String(), Serdes.String()); }
    static Grouped<String,String> g(String n) { return Grouped.with(n, Serdes.String(), Serdes.String()); }
    static <V> Materialized<String,V,KeyValueStore<Bytes,byte[]>> m(String n) { return Materialized.as(n); }
    static StoreBuilder<KeyValueStore<String,String>> store(String n) {
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(n), Serdes.String(), Serdes.String());
    }
    static class P implements Processor<String,String,String,String> {
        public void process(Record<String,String> r) {}
    }
    static class F implements FixedKeyProcessor<String,String,String> {
        public void process(FixedKeyRecord<String,String> r) {}
    }
    static KStream<String,String> s(StreamsBuilder b, String t) { return b.stream(t, c()); }
    static KeyValue<String,String> kv(String k, String v) { return KeyValue.pair(k, v); }

    public static void main(String[] a) throws Exception {
        all.put("pass_through", b -> s(b, "in").to("out", p()));
        all.put("stateless_chain", b -> s(b, "in").filter((k,v)->true).filterNot((k,v)->false).mapValues(v->v)
            .mapValues((k,v)->v).flatMapValues(v->List.of(v)).peek((k,v)->{}).map((k,v)->kv(k,v))
            .flatMap((k,v)->List.of(kv(k,v))).selectKey((k,v)->k).foreach((k,v)->{}));
        all.put("stateless_named", b -> {
            b.stream("in", c().withName("source")).filter((k,v)->true, Named.as("keep")).filterNot((k,v)->false, Named.as("drop"))
            .mapValues(v->v, Named.as("value")).flatMapValues(v->List.of(v), Named.as("values")).peek((k,v)->{}, Named.as("look"))
            .map((k,v)->kv(k,v), Named.as("pair")).flatMap((k,v)->List.of(kv(k,v)), Named.as("pairs"))
            .selectKey((k,v)->k, Named.as("key")).mapValues(v->v).to("out", p().withName("sink"));
            s(b, "other").foreach((k,v)->{}, Named.as("each"));
        });
        all.put("many_topics", b -> b.stream(List.of("zeta","alpha","mid","topic-17","payments"), c()).to("out", p()));
        all.put("same_topic_twice", b -> {
            s(b, "in").filter((k,v)->true).to("one", p());
            s(b, "other").to("three", p());
            s(b, "in").mapValues(v->v).to("two", p());
        });
        all.put("merge", b -> {
            KStream<String,String> x = s(b,"a"), y = s(b,"b").mapValues(v->v);
            x.merge(y).merge(s(b,"c"), Named.as("all")).to("out", p());
        });
        all.put("merge_with_itself", b -> { KStream<String,String> x = s(b,"a"); x.merge(x).to("out", p()); });
        all.put("merge_after_key_change", b -> {
            s(b,"a").merge(s(b,"b").selectKey((k,v)->v)).groupByKey(g()).count();
        });
        all.put("split_numbered", b -> {
            Map<String,KStream<String,String>> m = s(b,"in").split().branch((k,v)->true).branch((k,v)->false).defaultBranch();
            m.get("KSTREAM-BRANCH-00000000011").to("one", p());
            m.get("KSTREAM-BRANCH-00000000012").mapValues(v->v).to("two", p());
            m.get("KSTREAM-BRANCH-00000000010").to("rest", p());
        });
        all.put("split_named", b -> {
            Map<String,KStream<String,String>> m = s(b,"in").split(Named.as("size-")).branch((k,v)->true, Branched.as("small"))
                .branch((k,v)->false, Branched.as("large")).branch((k,v)->false).noDefaultBranch();
            m.get("size-small").to("small", p());
            m.get("size-large").filter((k,v)->true).mapValues(v->v).to("large", p());
            m.get("size-3").to("third", p());
        });
        all.put("split_then_count", b -> {
            Map<String,KStream<String,String>> m = s(b,"in").selectKey((k,v)->v).split().branch((k,v)->true, Branched.as("-x")).defaultBranch(Branched.as("-y"));
            m.get("KSTREAM-BRANCH-0000000002-x").groupByKey(g()).count();
            m.get("KSTREAM-BRANCH-0000000002-y").to("out", p());
        });
        all.put("table", b -> b.table("in", c()).toStream().to("out", p()));
        all.put("table_named", b -> b.table("in", c().withName("names"), Describe.<String>m("store")).toStream(Named.as("changes")).to("out", p()));
        all.put("table_operators", b -> b.table("in", c()).filter((k,v)->true).filterNot((k,v)->false).mapValues(v->v)
            .toStream((k,v)->v).to("out", p()));
        all.put("table_operators_stored", b -> b.table("in", c()).filter((k,v)->true, Named.as("keep"), Describe.<String>m("kept"))
            .filterNot((k,v)->false, Materialized.with(Serdes.String(), Serdes.String()))
            .mapValues(v->v, Named.as("value"), Describe.<String>m("values"))
            .mapValues(v->v, Materialized.with(Serdes.String(), Serdes.String())).toStream().to("out", p()));
        all.put("to_table", b -> s(b,"in").toTable(Materialized.with(Serdes.String(), Serdes.String())).toStream().to("out", p()));
        all.put("to_table_stored", b -> s(b,"in").toTable(Named.as("latest"), Describe.<String>m("store").withKeySerde(Serdes.String()).withValueSerde(Serdes.String())).toStream().to("out", p()));
        all.put("to_table_after_key_change", b -> {
            s(b,"in").selectKey((k,v)->v).toTable(Materialized.with(Serdes.String(), Serdes.String())).toStream().to("out", p());
            s(b,"other").selectKey((k,v)->v).toTable(Named.as("latest"), Materialized.with(Serdes.String(), Serdes.String()));
        });
        all.put("join_stream_table", b -> {
            KTable<String,String> t = b.table("names", c());
            s(b,"in").join(t, (x,y)->x).to("out", p());
            s(b,"in").leftJoin(t.filter((k,v)->true), (x,y)->x, Joined.as("labels")).to("out", p());
        });
        all.put("join_stream_table_after_key_change", b -> {
            KTable<String,String> t = b.table("names", c(), Describe.<String>m("store"));
            s(b,"in").selectKey((k,v)->v).join(t, (x,y)->x, Joined.with(Serdes.String(), Serdes.String(), Serdes.String())).to("out", p());
            s(b,"other").selectKey((k,v)->v).leftJoin(t, (x,y)->x, Joined.with(Serdes.String(), Serdes.String(), Serdes.String(), "labels")).to("out", p());
        });
        all.put("join_tables", b -> b.table("a", c()).join(b.table("b", c()), (x,y)->x).toStream().to("out", p()));
        all.put("join_tables_stored", b -> b.table("a", c()).leftJoin(b.table("b", c()), (x,y)->x, Describe.<String>m("joined"))
            .outerJoin(b.table("c", c()), (x,y)->x, Materialized.with(Serdes.String(), Serdes.String())).toStream().to("out", p()));
        all.put("join_tables_named", b -> b.table("a", c()).outerJoin(b.table("b", c()).mapValues(v->v), (x,y)->x, Named.as("both"))
            .join(b.table("c", c()), (x,y)->x, Named.as("all"), Describe.<String>m("joined")).toStream().to("out", p()));
        all.put("join_counts", b -> s(b,"in").groupByKey(g()).count().join(b.table("b", c()), (x,y)->y).toStream().to("out", p()));
        all.put("group_table", b -> b.table("in", c()).groupBy((k,v)->kv(v,k), g()).count().toStream().to("out", pl()));
        all.put("group_table_kinds", b -> {
            KGroupedTable<String,String> x = b.table("in", c(), Describe.<String>m("store")).filter((k,v)->true).groupBy((k,v)->kv(v,k), g());
            x.count(Materialized.with(Serdes.String(), Serdes.Long())).toStream().to("out", pl());
            x.reduce((a1,b1)->a1, (a1,b1)->a1, Describe.<String>m("reduced")).toStream().to("out", p());
            x.reduce((a1,b1)->a1, (a1,b1)->a1);
            x.aggregate(()->0L, (k,v,t)->t, (k,v,t)->t, Materialized.with(Serdes.String(), Serdes.Long()));
        });
        all.put("group_table_named", b -> {
            KGroupedTable<String,String> x = b.table("in", c()).groupBy((k,v)->kv(v,k), g("cities"));
            x.count(Named.as("counted"), Describe.<Long>m("counts"));
            x.reduce((a1,b1)->a1, (a1,b1)->a1);
        });
        all.put("count", b -> s(b,"in").groupByKey(g()).count().toStream().to("out", pl()));
        all.put("count_with_materialized", b -> s(b,"in").groupByKey(g()).count(Materialized.with(Serdes.String(), Serdes.Long())).toStream().to("out", pl()));
        all.put("count_named_store", b -> s(b,"in").groupByKey(g()).count(Describe.<Long>m("counts")).toStream().to("out", pl()));
        all.put("count_all_named", b -> s(b,"in").groupByKey(g("grouped")).count(Named.as("count"), Describe.<Long>m("counts")).toStream(Named.as("changes")).to("out", pl()));
        all.put("reduce", b -> s(b,"in").groupByKey(g()).reduce((x,y)->y, Materialized.with(Serdes.String(), Serdes.String())).toStream().to("out", p()));
        all.put("aggregate", b -> s(b,"in").groupByKey(g()).aggregate(()->0L, (k,v,x)->x, Materialized.with(Serdes.String(), Serdes.Long())).toStream().to("out", pl()));
        all.put("word_count", b -> s(b,"in").flatMapValues(v->List.of(v.split(" "))).groupBy((k,v)->v, g()).count(Describe.<Long>m("counts")).toStream().to("out", pl()));
        all.put("word_count_unnamed", b -> s(b,"in").flatMapValues(v->List.of(v.split(" "))).groupBy((k,v)->v, g()).count().toStream().to("out", pl()));
        all.put("group_by_named", b -> s(b,"in").groupBy((k,v)->v, g("by-word")).reduce((x,y)->y, Describe.<String>m("latest")).toStream().to("out", p()));
        all.put("balances", b -> s(b,"transactions").mapValues(v->v).selectKey((k,v)->v).groupByKey(g()).aggregate(()->0L,(k,v,x)->x, Describe.<Long>m("balances-store").withValueSerde(Serdes.Long())).toStream().mapValues(v->v).to("balances", pl()));
        all.put("two_aggregations_unnamed", b -> {
            KGroupedStream<String,String> gr = s(b,"in").groupBy((k,v)->v, g());
            gr.count(Describe.<Long>m("counts")).toStream().to("counts-out", pl());
            gr.reduce((x,y)->y, Describe.<String>m("latest")).toStream().to("latest-out", p());
        });
        all.put("two_aggregations_named", b -> {
            KGroupedStream<String,String> gr = s(b,"in").groupBy((k,v)->v, g("by-word"));
            gr.count(Describe.<Long>m("counts")).toStream().to("counts-out", pl());
            gr.reduce((x,y)->y, Describe.<String>m("latest")).toStream().to("latest-out", p());
        });
        all.put("two_aggregations_no_key_change", b -> {
            KGroupedStream<String,String> gr = s(b,"in").groupByKey(g());
            gr.count(); gr.reduce((x,y)->y, Describe.<String>m("latest")).toStream().to("latest-out", p()); gr.aggregate(()->0L,(k,v,x)->x, Materialized.with(Serdes.String(), Serdes.Long()));
        });
        all.put("reused_topic_moves_later_nodes", b -> {
            KGroupedStream<String,String> gr = s(b,"in").groupBy((k,v)->v, g("by-word"));
            gr.count(Describe.<Long>m("counts")).toStream().to("counts-out", pl());
            s(b,"unrelated").to("unrelated-out", p());
            gr.reduce((x,y)->y, Describe.<String>m("latest")).toStream().to("latest-out", p());
        });
        all.put("repartition", b -> s(b,"in").repartition(Repartitioned.with(Serdes.String(), Serdes.String())).mapValues(v->v).to("out", p()));
        all.put("repartition_named", b -> s(b,"in").repartition(Repartitioned.with(Serdes.String(), Serdes.String()).withName("by-user").withNumberOfPartitions(5)).filter((k,v)->true).to("out", p()));
        all.put("repartition_then_group", b -> s(b,"in").selectKey((k,v)->v).repartition(Repartitioned.with(Serdes.String(), Serdes.String())).groupByKey(g()).count().toStream().to("out", pl()));
        all.put("process", b -> { b.addStateStore(store("seen")); s(b,"in").process(P::new, "seen").groupByKey(g()).count().toStream().to("out", pl()); });
        all.put("process_named", b -> { b.addStateStore(store("seen")); s(b,"in").process(P::new, Named.as("dedup"), "seen").mapValues(v->v).to("out", p()); });
        all.put("process_values", b -> { b.addStateStore(store("seen")); s(b,"in").processValues(F::new, "seen").groupByKey(g()).count().toStream().to("out", pl()); });
        all.put("process_many_stores", b -> {
            for (String n : List.of("zulu","alpha","store-1","store-2","balances-store","x")) b.addStateStore(store(n));
            s(b,"in").process(P::new, "zulu","alpha","store-1","store-2","balances-store","x").to("out", p());
        });
        all.put("stores_join_sub_topologies", b -> {
            b.addStateStore(store("shared")); 
            s(b,"a").processValues(F::new, Named.as("write"), "shared").to("a-out", p());
            s(b,"b").to("b-out", p());
            s(b,"c").process(P::new, Named.as("read"), "shared").to("c-out", p());
        });
        all.put("fan_out", b -> {
            KStream<String,String> x = s(b,"in");
            x.to("o1", p());
            x.mapValues(v->v).filter((k,v)->true).to("o2", p());
            x.filter((k,v)->true).to("o3", p());
            x.peek((k,v)->{}).mapValues(v->v).peek((k,v)->{}).to("o4", p());
            x.flatMapValues(v->List.of(v)).to("o5", p());
            x.mapValues(v->v).to("o6", p());
            x.filterNot((k,v)->true).filter((k,v)->true).peek((k,v)->{}).to("o7", p());
            KStream<String,String> y = x.mapValues(v->v);
            for (int i = 0; i < 5; i++) y.filter((k,v)->true).to("y"+i, p());
        });
        all.put("diamonds", b -> {
            KStream<String,String> x = s(b,"in");
            for (int i = 0; i < 4; i++) x = x.filter((k,v)->true).merge(x.filterNot((k,v)->true).mapValues(v->v));
            x.to("out", p());
        });
        all.put("wide", b -> {
            KStream<String,String> m = s(b,"t0");
            for (int i = 1; i < 12; i++) { KStream<String,String> n = s(b,"t"+i); for (int j = 0; j < i % 4; j++) n = n.peek((k,v)->{}); m = m.merge(n); }
            Map<String,KStream<String,String>> br = new TreeMap<>();
            BranchedKStream<String,String> sp = m.split(Named.as("b"));
            for (int i = 0; i < 9; i++) sp = sp.branch((k,v)->true);
            br.putAll(sp.noDefaultBranch());
            int i = 0;
            for (KStream<String,String> n : br.values()) { for (int j = 0; j < i % 5; j++) n = n.mapValues(v->v); n.to("o"+i++, p()); }
        });
        all.put("everything", b -> {
            KStream<String,String> orders = s(b,"orders").filter((k,v)->true);
            KTable<String,Long> perKey = orders.groupByKey(g()).count(Describe.<Long>m("per-key"));
            perKey.toStream().to("per-key-out", pl());
            Map<String,KStream<String,String>> m = orders.split(Named.as("o-")).branch((k,v)->true, Branched.as("eu")).defaultBranch(Branched.as("rest"));
            KStream<String,String> eu = m.get("o-eu").map((k,v)->kv(v,k));
            eu.groupByKey(g("eu-by-item")).aggregate(()->0L,(k,v,x)->x, Materialized.with(Serdes.String(), Serdes.Long())).toStream().to("eu-out", pl());
            m.get("o-rest").merge(eu).repartition(Repartitioned.with(Serdes.String(), Serdes.String()).withName("rest")).peek((k,v)->{}).to("rest-out", p());
            s(b,"orders").flatMap((k,v)->List.of(kv(k,v))).groupByKey(g()).reduce((x,y)->x, Materialized.with(Serdes.String(), Serdes.String())).toStream().filter((k,v)->true).to("reduced", p());
        });
        all.put("random", b -> {
            List<KStream<String,String>> xs = new ArrayList<>(List.of(s(b,"a"), s(b,"b"), s(b,"c"), s(b,"d")));
            long[] seed = {7};
            IntUnaryOperator next = n -> { seed[0] = (seed[0] * 1103515245L + 12345L) % 2147483648L; return (int) (seed[0] / 65536 % n); };
            for (int i = 0; i < 300; i++) {
                KStream<String,String> x = xs.get(next.applyAsInt(xs.size()));
                switch (next.applyAsInt(6)) {
                    case 0 -> xs.add(x.mapValues(v->v));
                    case 1 -> xs.add(x.filter((k,v)->true));
                    case 2 -> xs.add(x.peek((k,v)->{}));
                    case 3 -> xs.add(x.flatMapValues(v->List.of(v)));
                    case 4 -> { if (next.applyAsInt(3) == 0) xs.add(x.merge(xs.get(next.applyAsInt(xs.size())))); }
                    default -> x.to("out-" + i, p());
                }
            }
        });
        Path out = Paths.get(a[0]);
        for (var e : all.entrySet()) {
            StreamsBuilder b = new StreamsBuilder();
            e.getValue().accept(b);
            Files.writeString(out.resolve(e.getKey() + ".txt"), b.build().describe().toString());
        }
    }
}
