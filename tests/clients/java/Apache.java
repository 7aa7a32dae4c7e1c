import org.apache.hc.client5.http.classic.methods.HttpPost;
import org.apache.hc.client5.http.impl.classic.CloseableHttpClient;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.core5.http.ContentType;
import org.apache.hc.core5.http.io.entity.EntityUtils;
import org.apache.hc.core5.http.io.entity.StringEntity;

/** Posts a message with Apache's client, as it comes: over HTTP it offers TLS/1.2. */
class Apache {
    public static void main(String[] arguments) throws Exception {
        HttpPost request = new HttpPost(arguments[0]);
        request.addHeader("x-api-key", arguments[1]);
        request.setEntity(new StringEntity(arguments[2], ContentType.APPLICATION_JSON));
        try (CloseableHttpClient client = HttpClients.createDefault()) {
            String printed = client.execute(request, response ->
                    response.getCode() + " " + EntityUtils.toString(response.getEntity()));
            System.out.println(printed);
        }
    }
}
