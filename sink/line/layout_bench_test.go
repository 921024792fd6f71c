package line

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

// benchWords are what the lines of a script are made of.
var benchWords = map[string]string{
	"ascii":    "connection from 192.0.2.17 port 41822 closed by peer after 30 seconds: request=/api/v1/items?id=7 status=200",
	"cyrillic": "соединение с сервером закрыто после тридцати секунд ожидания: запрос пользователя не был обработан вовремя",
	"cjk":      "服务器在三十秒之后关闭了连接， 请求没有及时处理完毕。 再试一次 データベースに接続できませんでした、 もう一度。 错误 失败",
}

// scriptBlock is 256 KiB of lines of 10 to 40 words.
func scriptBlock(script string) []byte {
	rnd, words := rand.New(rand.NewSource(1)), strings.Fields(benchWords[script])
	var b bytes.Buffer
	for i := 0; b.Len() < 255<<10; i++ {
		fmt.Fprintf(&b, "%08d", i)
		for range 10 + rnd.Intn(30) {
			if script != "cjk" {
				b.WriteByte(' ')
			}
			b.WriteString(words[rnd.Intn(len(words))])
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// BenchmarkLayout lays lines out, in each script that has a goal of its own.
func BenchmarkLayout(b *testing.B) {
	for _, format := range []string{"syslog", "json"} {
		for _, script := range []string{"ascii", "cyrillic", "cjk"} {
			b.Run(format+"/"+script, func(b *testing.B) {
				l, err := NewLayout(format)
				if err != nil {
					b.Fatal(err)
				}
				text := scriptBlock(script)
				l.Begin(1763830800123456, "web01", "nginx", nil)
				var dst []byte
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					dst, _ = l.Append(dst[:0], text)
				}
			})
		}
	}
}
