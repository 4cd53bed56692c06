// CLD2 for bench/language-id.ts: a path of JSON lines on standard input, languages and CPU seconds back.
//
//   apt-get install libcld2-dev && g++ -O2 bench/peers/cld2.cc -lcld2 -o cld2
//
// The lines hold one JSON string each, without escapes but \" and \\, as the bench writes them.
#include <stdio.h>
#include <time.h>

#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <cld2/public/compact_lang_det.h>

int main() {
  std::cout << "CLD2" << std::endl;
  std::string path;
  while (std::getline(std::cin, path)) {
    std::ifstream in(path);
    std::vector<std::string> texts, answers;
    for (std::string line; std::getline(in, line);) {
      std::string text;
      for (size_t i = 1; i + 1 < line.size(); i++) text += line[i] == '\\' ? line[++i] : line[i];
      texts.push_back(text);
    }
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    for (const std::string &text : texts) {
      bool reliable;
      answers.push_back(CLD2::LanguageCode(CLD2::DetectLanguage(text.data(), int(text.size()), true, &reliable)));
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    std::ofstream out(path + ".out");
    for (const std::string &answer : answers) out << answer << "\n";
    out.close();
    double seconds = double(after.tv_sec - before.tv_sec) + 1e-9 * double(after.tv_nsec - before.tv_nsec);
    std::cout << "{\"seconds\": " << seconds << "}" << std::endl;
  }
}
