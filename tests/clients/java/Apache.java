import org.apache.hc.client5.http.classic.methods.HttpGet;
import org.apache.hc.client5.http.classic.methods.HttpPost;
import org.apache.hc.client5.http.classic.methods.HttpUriRequestBase;
import org.apache.hc.client5.http.impl.classic.CloseableHttpClient;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.core5.http.ContentType;
import org.apache.hc.core5.http.io.entity.EntityUtils;
import org.apache.hc.core5.http.io.entity.StringEntity;

/** Lists models and posts a message with Apache's client, as it comes: it offers TLS/1.2. */
class Apache {
    public static void main(String[] arguments) throws Exception {
        try (CloseableHttpClient client = HttpClients.createDefault()) {
            print(client, new HttpGet(arguments[0] + "/v1/models"), arguments[1]);
            HttpPost post = new HttpPost(arguments[0] + "/v1/messages");
            post.setEntity(new StringEntity(arguments[2], ContentType.APPLICATION_JSON));
            print(client, post, arguments[1]);
        }
    }

    static void print(CloseableHttpClient client, HttpUriRequestBase request, String token)
            throws Exception {
        request.addHeader("x-api-key", token);
        String printed = client.execute(request, response ->
                response.getCode() + " " + EntityUtils.toString(response.getEntity()));
        System.out.println(printed);
    }
}
