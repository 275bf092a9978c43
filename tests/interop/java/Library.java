// Names a library whose manifest has no version by its archive.

import java.nio.file.Path;

class Library {
    static String of(Class<?> one) {
        var archive = one.getProtectionDomain().getCodeSource().getLocation().getPath();
        var file = Path.of(archive).getFileName().toString();
        return file.replaceFirst("-([0-9.]+)\\.jar$", " $1");
    }
}
