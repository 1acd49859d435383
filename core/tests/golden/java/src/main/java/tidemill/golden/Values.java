package tidemill.golden;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.kstream.WindowedSerdes;

/** What a scenario calls a type, a value and bytes. */
final class Values {
    private Values() {}

    /** The serde of a type's name; the field `window_size` belongs to time windows. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    static Serde<Object> serde(String type, long windowSize) {
        Serde serde = switch (type) {
            case "string" -> Serdes.serdeFrom(new StringSerializer(), new StringDeserializer());
            case "long" -> Serdes.serdeFrom(new LongSerializer(), new LongDeserializer());
            case "time_windowed_string" ->
                WindowedSerdes.timeWindowedSerdeFrom(String.class, windowSize);
            case "session_windowed_string" -> WindowedSerdes.sessionWindowedSerdeFrom(String.class);
            default -> throw new IllegalArgumentException("no type is called " + type);
        };
        return serde;
    }

    /** The bytes of a key or value of an input record. */
    static byte[] bytes(JsonNode node, String type) {
        if (node == null || node.isNull()) {
            return null;
        }
        if (node.isObject()) {
            return unescape(node.get("bytes").textValue());
        }
        Object value = type.equals("long") ? (Object) node.longValue() : node.textValue();
        if (type.equals("long") != node.isIntegralNumber()) {
            throw new IllegalArgumentException(node + " is no " + type);
        }
        return bytes(value);
    }

    /** The bytes of a value: text as UTF-8, a number as eight bytes, big end first. */
    static byte[] bytes(Object value) {
        if (value == null) {
            return null;
        }
        if (value instanceof Long number) {
            return ByteBuffer.allocate(Long.BYTES).putLong(number).array();
        }
        return ((String) value).getBytes(StandardCharsets.UTF_8);
    }

    /** Bytes as text: printable ASCII as it is, everything else and `%` as `%` and two digits. */
    static String escape(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte b : bytes) {
            if (b >= ' ' && b <= '~' && b != '%') {
                text.append((char) b);
            } else {
                text.append(String.format("%%%02x", b));
            }
        }
        return text.toString();
    }

    static byte[] unescape(String text) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        for (int i = 0; i < text.length(); i++) {
            if (text.charAt(i) == '%') {
                bytes.write(Integer.parseInt(text.substring(i + 1, i + 3), 16));
                i += 2;
            } else {
                bytes.write(text.charAt(i));
            }
        }
        return bytes.toByteArray();
    }
}
