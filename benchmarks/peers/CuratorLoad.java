import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.cache.TreeCacheEvent;
import org.apache.curator.retry.RetryOneTime;

/** Loads a tree into memory with one of Apache Curator's caches and tells how long that took. */
public class CuratorLoad {
    public static void main(String[] arguments) throws Exception {
        String hosts = arguments[0];
        String root = arguments[1];
        boolean newer = arguments[2].equals("CuratorCache");
        try (CuratorFramework client = CuratorFrameworkFactory.newClient(hosts, 60000, 60000, new RetryOneTime(1000))) {
            client.start();
            client.blockUntilConnected();
            CountDownLatch loaded = new CountDownLatch(1);
            long began = System.nanoTime();
            long count;
            long ended;
            if (newer) {
                CuratorCache cache = CuratorCache.build(client, root);
                cache.listenable().addListener(
                    CuratorCacheListener.builder().forInitialized(loaded::countDown).build());
                cache.start();
                loaded.await();
                ended = System.nanoTime();
                count = cache.size();
            } else {
                AtomicLong added = new AtomicLong();
                TreeCache cache = TreeCache.newBuilder(client, root).build();
                cache.getListenable().addListener((framework, event) -> {
                    if (event.getType() == TreeCacheEvent.Type.NODE_ADDED) {
                        added.incrementAndGet();
                    } else if (event.getType() == TreeCacheEvent.Type.INITIALIZED) {
                        loaded.countDown();
                    }
                });
                cache.start();
                loaded.await();
                ended = System.nanoTime();
                count = added.get();
            }
            System.out.printf("{\"seconds\": %.6f, \"count\": %d}%n", (ended - began) / 1e9, count);
        }
        System.exit(0);
    }
}
