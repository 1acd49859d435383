package tidemill.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/**
 * The JSON forms of the job, written with Jackson's streaming parser and generator: the fastest
 * way Jackson has, without reflection or a tree. All serdes are stateless and may be shared by
 * threads; Jackson recycles its buffers per thread.
 */
final class Json {
    private static final JsonFactory FACTORY = new JsonFactory();

    private Json() {}

    /** Input: as {@link #transactions}, but counts records, and a null value is an error. */
    static Serde<Transaction> countedTransactions(LongAdder processed) {
        Deserializer<Transaction> counted = (topic, bytes) -> {
            processed.increment();
            if (bytes == null) {
                throw new SerializationException("a transaction without a value");
            }
            return read(bytes, Json::readTransaction);
        };
        return Serdes.serdeFrom(writer(Json::writeTransaction), counted);
    }

    /** {@code {"id","account_id","type":"deposit"|"withdrawal","amount":"12.34"}}. */
    static Serde<Transaction> transactions() {
        return Serdes.serdeFrom(writer(Json::writeTransaction), reader(Json::readTransaction));
    }

    /** Store and changelog: {@code {"balance":-320,"transactions":17}}, in minor units. */
    static Serde<Balance> balances() {
        return Serdes.serdeFrom(writer(Json::writeBalance), reader(Json::readBalance));
    }

    /** Output: {@code {"account_id":"a","balance":"-3.20","transactions":17}}. */
    static Serde<AccountBalance> accountBalances() {
        Deserializer<AccountBalance> none = (topic, bytes) -> {
            throw new UnsupportedOperationException("published balances are only written");
        };
        return Serdes.serdeFrom(writer(Json::writeAccountBalance), none);
    }

    private static Transaction readTransaction(JsonParser parser) throws IOException {
        String id = null;
        String account = null;
        Boolean deposit = null;
        long amount = -1;
        String field;
        while ((field = parser.nextFieldName()) != null) {
            switch (field) {
                case "id" -> id = once(id == null, text(parser, field), field);
                case "account_id" ->
                        account = once(account == null, text(parser, field), field);
                case "type" -> deposit = once(deposit == null, isDeposit(parser), field);
                case "amount" -> amount = once(amount < 0, amount(parser), field);
                default -> {
                    parser.nextToken();
                    parser.skipChildren();
                }
            }
        }
        if (id == null || account == null || deposit == null || amount < 0) {
            throw new SerializationException("a transaction lacks id, account_id, type or amount");
        }
        return new Transaction(id, account, deposit, amount);
    }

    private static boolean isDeposit(JsonParser parser) throws IOException {
        String type = text(parser, "type");
        return switch (type) {
            case "deposit" -> true;
            case "withdrawal" -> false;
            default -> throw new SerializationException("unknown transaction type " + type);
        };
    }

    private static long amount(JsonParser parser) throws IOException {
        if (parser.nextToken() != JsonToken.VALUE_STRING) {
            throw new SerializationException("amount is not a string");
        }
        return Money.parse(
                parser.getTextCharacters(), parser.getTextOffset(), parser.getTextLength());
    }

    private static Balance readBalance(JsonParser parser) throws IOException {
        long balance = 0;
        long transactions = -1;
        String field;
        while ((field = parser.nextFieldName()) != null) {
            switch (field) {
                case "balance" -> balance = parser.nextLongValue(0);
                case "transactions" -> transactions = parser.nextLongValue(-1);
                default -> throw new SerializationException("unknown field of state: " + field);
            }
        }
        if (transactions < 0) {
            throw new SerializationException("state without transactions");
        }
        return new Balance(balance, transactions);
    }

    private static void writeTransaction(JsonGenerator out, Transaction transaction)
            throws IOException {
        out.writeStringField("id", transaction.id());
        out.writeStringField("account_id", transaction.accountId());
        out.writeStringField("type", transaction.deposit() ? "deposit" : "withdrawal");
        out.writeStringField("amount", Money.format(transaction.amount()));
    }

    private static void writeBalance(JsonGenerator out, Balance balance) throws IOException {
        out.writeNumberField("balance", balance.balance());
        out.writeNumberField("transactions", balance.transactions());
    }

    private static void writeAccountBalance(JsonGenerator out, AccountBalance account)
            throws IOException {
        out.writeStringField("account_id", account.accountId());
        out.writeStringField("balance", Money.format(account.balance().balance()));
        out.writeNumberField("transactions", account.balance().transactions());
    }

    private static String text(JsonParser parser, String field) throws IOException {
        String value = parser.nextTextValue();
        if (value == null) {
            throw new SerializationException(field + " is not a string");
        }
        return value;
    }

    private static <T> T once(boolean first, T value, String field) {
        if (!first) {
            throw new SerializationException("field twice: " + field);
        }
        return value;
    }

    private interface Reading<T> {
        /** Reads the fields after the opening brace, up to the closing one. */
        T from(JsonParser parser) throws IOException;
    }

    private interface Writing<T> {
        /** Writes the fields between the braces. */
        void to(JsonGenerator out, T value) throws IOException;
    }

    private static <T> Deserializer<T> reader(Reading<T> fields) {
        return (topic, bytes) -> bytes == null ? null : read(bytes, fields);
    }

    private static <T> T read(byte[] bytes, Reading<T> fields) {
        try (JsonParser parser = FACTORY.createParser(bytes)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                throw new SerializationException("not a JSON object");
            }
            T value = fields.from(parser);
            if (parser.currentToken() != JsonToken.END_OBJECT || parser.nextToken() != null) {
                throw new SerializationException("text after the JSON object");
            }
            return value;
        } catch (IOException | ArithmeticException | NumberFormatException e) {
            throw new SerializationException("invalid JSON: " + e.getMessage(), e);
        }
    }

    private static <T> Serializer<T> writer(Writing<T> fields) {
        return (topic, value) -> {
            if (value == null) {
                return null;
            }
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(128);
            try (JsonGenerator out = FACTORY.createGenerator(bytes)) {
                out.writeStartObject();
                fields.to(out, value);
                out.writeEndObject();
            } catch (IOException e) {
                throw new SerializationException("cannot write JSON", e);
            }
            return bytes.toByteArray();
        };
    }
}
